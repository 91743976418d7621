//! Rules as people write them, in our words and in those of OVS.

mod files;
mod properties;

use std::str::FromStr;

use ctl::flow::{Actions, ConnState, FlowId, FlowRule, FlowSyntax, Limit, Match, Step, Verdict};

fn read<T: FromStr<Err = FlowSyntax>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn wrong<T: FromStr<Err = FlowSyntax> + std::fmt::Debug>(text: &str) -> FlowSyntax {
    text.parse::<T>().expect_err(text)
}

#[test]
fn what_is_written_in_our_words_is_printed_as_it_was() {
    let matches = [
        "any",
        "in_port=web0,tcp,src=10.0.0.0/8,dst={10.1.0.1,10.1.0.2},dport=80-90,state=new",
        "bridge=br0,vni=100,src_mac=02:00:00:00:00:01,dst_mac=01:00:00:00:00:00/01:00:00:00:00:00",
        "vlan=10,arp",
        "vlan=none,ethertype=0x88cc",
        "udp6,src={fd00::/64,fd01::1},sport=53,dport={22,80-90,443}",
        "proto=tcp,dst={10.0.0.1,fd00::1},tcp_flags=+syn-ack",
        "ip,proto=47,dscp=46",
        "proto=sctp,state={established,related}",
        "icmp6,icmp_type=135,icmp_code=0",
        "src=0.0.0.0/0",
    ];
    for text in matches {
        assert_eq!(read::<Match>(text).to_string(), text);
        let json = serde_json::to_string(&read::<Match>(text)).unwrap();
        assert_eq!(serde_json::from_str::<Match>(&json).unwrap(), read(text), "{json}");
    }
    let actions = [
        "allow",
        "drop",
        "reject",
        "reject:icmp",
        "forward:web0",
        "count,mirror:ids,mirror:ids2/128,set_vlan:10,set_dscp:46,limit:1000pps,allow",
        "set_src:02:00:00:00:00:01,set_dst:02:00:00:00:00:02,forward:web0",
        "limit:10mbit:burst=125000:per-source,reject",
    ];
    for text in actions {
        assert_eq!(read::<Actions>(text).to_string(), text);
    }
}

#[test]
fn the_words_of_ovs_that_have_one_meaning_are_understood() {
    let same = [
        ("in_port=1,tcp,tp_dst=80", "in_port=1,tcp,dport=80"),
        (
            "dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff",
            "src_mac=02:00:00:00:00:01,dst_mac=ff:ff:ff:ff:ff:ff",
        ),
        ("dl_vlan=10,dl_type=0x0806", "vlan=10,arp"),
        ("ip,nw_proto=6,tp_src=0x50", "tcp,sport=80"),
        ("dl_type=0x86dd,nw_proto=58,icmp_type=128", "icmp6,icmp_type=128"),
        ("ip,nw_src=10.0.0.0/255.255.0.0,nw_dst=10.1.2.3", "ip,src=10.0.0.0/16,dst=10.1.2.3"),
        ("ipv6,ipv6_src=fd00::/64", "ipv6,src=fd00::/64"),
        ("ip,nw_tos=184", "ip,dscp=46"),
        ("ip,ip_dscp=46", "ip,dscp=46"),
        ("tcp,tcp_flags=-ack+syn", "tcp,tcp_flags=+syn-ack"),
        ("sctp,sctp_src=9,sctp_dst=80", "sctp,sport=9,dport=80"),
        ("icmp6,icmpv6_type=135,icmpv6_code=0", "icmp6,icmp_type=135,icmp_code=0"),
        ("ct_state=+trk+new-inv", "state=new"),
        ("ct_state=+trk-new", "state={established,related,invalid}"),
        ("ct_state=+trk", "state={new,established,related,invalid}"),
        ("tun_id=0x64", "vni=100"),
        ("any", "any"),
    ];
    for (theirs, ours) in same {
        assert_eq!(read::<Match>(theirs), read(ours), "{theirs}");
        assert_eq!(read::<Match>(theirs).to_string(), ours);
    }
    let same = [
        ("NORMAL", "allow"),
        ("normal", "allow"),
        ("output:web0", "forward:web0"),
        ("mod_vlan_vid:10,mod_nw_tos:184,NORMAL", "set_vlan:10,set_dscp:46,allow"),
        (
            "mod_dl_src:02:00:00:00:00:01,mod_dl_dst:02:00:00:00:00:02,output:b",
            "set_src:02:00:00:00:00:01,set_dst:02:00:00:00:00:02,forward:b",
        ),
    ];
    for (theirs, ours) in same {
        assert_eq!(read::<Actions>(theirs).to_string(), ours);
    }
}

#[test]
fn sets_are_what_is_in_them_however_they_are_written() {
    let same = [
        ("src={10.1.0.2, 10.1.0.1,10.1.0.2}", "src={10.1.0.1,10.1.0.2}"),
        ("src={10.1.0.1}", "src=10.1.0.1"),
        ("src=10.1.0.1/32", "src=10.1.0.1"),
        (" tcp , dport={ 80-85,86,84-90 } ", "tcp,dport=80-90"),
        ("tcp,tcp,dport=80,dport=80", "tcp,dport=80"),
        ("state={related,new}", "state={new,related}"),
    ];
    for (written, meant) in same {
        assert_eq!(read::<Match>(written).to_string(), meant);
    }
}

/// A text, the part that is wrong with it, where that begins, and a piece of the advice.
fn complains<T: FromStr<Err = FlowSyntax> + std::fmt::Debug>(cases: &[(&str, &str, usize, &str)]) {
    for (text, token, position, advice) in cases {
        let error = wrong::<T>(text);
        assert_eq!((error.token.as_str(), error.position), (*token, *position), "{text}: {error}");
        assert!(error.to_string().contains(advice), "{text}: {error}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    complains::<Match>(&[
        ("dport=80", "dport=80", 1, "proto=tcp for both"),
        ("ip,sport=80", "sport=80", 4, "write tcp, udp or sctp"),
        ("udp,tcp_flags=+syn", "tcp_flags=+syn", 5, "write tcp with it"),
        ("tcp,icmp_type=8", "icmp_type=8", 5, "write icmp or icmp6"),
        ("icmp,icmp_code=1", "icmp_code=1", 6, "icmp_type=TYPE"),
        ("tcp,src=fd00::/64", "src=fd00::/64", 5, "write tcp6"),
        ("tcp6,src={fd00::1,10.0.0.1}", "src={fd00::1,10.0.0.1}", 6, "proto=tcp"),
        ("proto=icmp,dst=fd00::1", "dst=fd00::1", 12, "icmp6"),
        ("src=10.0.0.1,dst=fd00::1", "dst=fd00::1", 14, "one IP version"),
        ("arp,src=10.0.0.1", "arp", 1, "leave one of them out"),
        ("ipv6,nw_proto=1", "nw_proto=1", 6, "write icmp6"),
        ("tcp,udp", "udp", 5, "say it once"),
        ("in_port=a,in_port=b", "in_port=b", 11, "say it once"),
        ("dl_type=0x8100", "dl_type=0x8100", 1, "write vlan=N"),
        ("ethertype=100", "ethertype=100", 1, "begin at 0x0600"),
        (
            "src_mac=02:00:00:00:00:01/00:00:00:00:00:00",
            "src_mac=02:00:00:00:00:01/00:00:00:00:00:00",
            1,
            "leave it out",
        ),
    ]);
}

#[test]
fn what_ovs_means_otherwise_is_refused_with_what_to_write() {
    complains::<Match>(&[
        ("tcp,tp_dst=80/0xfff0", "tp_dst=80/0xfff0", 5, "write the range, 80-95"),
        ("in_port=LOCAL", "in_port=LOCAL", 1, "`port list`"),
        ("dl_vlan=0xffff", "dl_vlan=0xffff", 1, "none for the ports that know no VLANs"),
        ("vlan_tci=0x1000/0x1000", "vlan_tci=0x1000/0x1000", 1, "write vlan=N"),
        ("ct_state=+new+est", "ct_state=+new+est", 1, "state={new,established}"),
        ("ct_state=-trk", "ct_state=-trk", 1, "ct_state=+trk"),
        ("ct_state=-new", "ct_state=-new", 1, "write ct_state=+trk-new"),
        ("ct_state=+rpl", "ct_state=+rpl", 1, "use +trk"),
        ("ct_zone=5", "ct_zone=5", 1, "only the state"),
        ("ip,nw_tos=185", "nw_tos=185", 4, "write 184 or dscp=46"),
        ("ip,nw_src=10.0.0.0/255.0.255.0", "nw_src=10.0.0.0/255.0.255.0", 4, "as a set"),
        ("ip,nw_src=10.0.0.1/8", "nw_src=10.0.0.1/8", 4, "bits after the prefix must be zero"),
        ("nw_src=fd00::1", "nw_src=fd00::1", 1, "write src= or dst="),
        ("tcp,tcp_flags=0x2/0x12", "tcp_flags=0x2/0x12", 5, "such as +syn-ack"),
        ("arp,arp_tpa=10.0.0.1", "arp_tpa=10.0.0.1", 5, "spoof guard"),
        ("reg0=1", "reg0=1", 1, "between tables"),
        ("table=1,tcp", "table=1", 1, "one table"),
        ("tun_dst=1.2.3.4", "tun_dst=1.2.3.4", 1, "write vni=N"),
    ]);
    complains::<Actions>(&[
        ("resubmit(,1)", "resubmit(,1)", 1, "one table"),
        ("ct(commit),NORMAL", "ct(commit)", 1, "every connection is tracked"),
        ("strip_vlan,NORMAL", "strip_vlan", 1, "VLAN policy"),
        ("mod_nw_src:1.2.3.4,NORMAL", "mod_nw_src:1.2.3.4", 1, "nat masquerade"),
        ("meter:1,NORMAL", "meter:1", 1, "limit:1000pps"),
        ("output:LOCAL", "output:LOCAL", 1, "name of a port"),
        ("FLOOD", "FLOOD", 1, "write allow"),
        ("output:a,output:b", "output:a", 1, "mirror:PORT"),
    ]);
}

#[test]
fn what_is_no_rule_is_refused_with_its_place_and_what_would_be_right() {
    complains::<Match>(&[
        ("", "", 1, "use any, arp"),
        ("tcp,,udp", "", 5, "use any, arp"),
        ("tcp,port=80", "port=80", 5, "sport=, dport="),
        ("tcp,dport", "dport", 5, "write dport=VALUE"),
        ("ünicode,tcp", "ünicode", 1, "use any"),
        ("src=ü,tcp", "src=ü", 1, "such as 10.0.0.0/8"),
        ("src={10.0.0.1,tcp", "src={10.0.0.1,tcp", 1, "end it with }"),
        ("src={}", "src={}", 1, "write a network"),
        ("tcp,dport=90-80", "dport=90-80", 5, "smaller port first"),
        ("tcp,dport=65536", "dport=65536", 5, "a range such as 80-90"),
        ("tcp,dport=+80", "dport=+80", 5, "a range such as 80-90"),
        ("tcp,tcp_flags=syn", "tcp_flags=syn", 5, "+ before each flag"),
        ("tcp,tcp_flags=+syn-syn", "tcp_flags=+syn-syn", 5, "+ before each flag"),
        ("dscp=64", "dscp=64", 1, "use 0 to 63"),
        ("state=old", "state=old", 1, "new, established, related, invalid"),
        ("vni=16777216", "vni=16777216", 1, "use 0 to 16777215"),
        ("proto=256", "proto=256", 1, "tcp, udp, sctp"),
    ]);
    complains::<Actions>(&[
        ("", "", 1, "at the end allow, drop"),
        ("count", "count", 1, "end with one of"),
        ("allow,count", "allow", 1, "leave out what follows"),
        ("set_vlan:4095,allow", "set_vlan:4095", 1, "use 1 to 4094"),
        ("mirror:ids/13,allow", "mirror:ids/13", 1, "at least 14"),
        ("limit:fast,allow", "limit:fast", 1, "limit:1000pps"),
        ("limit:0pps,allow", "limit:0pps", 1, "use 1pps"),
        ("limit:1mbit:burst=100,allow", "limit:1mbit:burst=100", 1, "65536 or more"),
        ("reject:rst", "reject:rst", 1, "which resets TCP"),
        ("drop:now", "drop:now", 1, "at the end allow, drop"),
        (&format!("{}drop", "count,".repeat(17)), "count", 97, "at most 16"),
    ]);
    complains::<FlowRule>(&[
        ("", "", 1, "PRIORITY MATCH ACTIONS"),
        ("100 tcp", "tcp", 5, "PRIORITY MATCH ACTIONS"),
        ("high tcp drop", "high", 1, "PRIORITY MATCH ACTIONS"),
        ("100 tcp,dprt=80 drop", "dprt=80", 9, "sport=, dport="),
        ("100 tcp drp", "drp", 9, "at the end allow"),
        ("100 tcp drop forever", "forever", 14, "idle_timeout=S"),
        ("100 tcp drop idle_timeout=x", "idle_timeout=x", 14, "use 0 to 4294967295"),
        ("priority=1,tcp,n_packets=5,actions=drop", "n_packets=5", 16, "leave out"),
    ]);
}

#[test]
fn a_rule_is_one_line_of_ours_or_of_ovs() {
    let ours: FlowRule = read("100  tcp,dport=80   limit:1mbit,allow  idle_timeout=60");
    assert_eq!(ours.to_string(), "100 tcp,dport=80 limit:1mbit,allow idle_timeout=60");
    let json = r#"{"priority":100,"match":"tcp,dport=80","actions":"limit:1mbit,allow","idle_timeout":60}"#;
    assert_eq!(serde_json::to_string(&ours).unwrap(), json);
    assert_eq!(serde_json::from_str::<FlowRule>(json).unwrap(), ours);
    let theirs = [
        (
            "priority=7,tcp,tp_dst=80,hard_timeout=5,actions=NORMAL",
            "7 tcp,dport=80 allow hard_timeout=5",
        ),
        ("priority=7, tcp, tp_dst=80 actions=drop", "7 tcp,dport=80 drop"),
        ("tcp,idle_timeout=0,actions=drop", "32768 tcp drop"),
        ("actions=output:web0", "32768 any forward:web0"),
    ];
    for (line, same) in theirs {
        assert_eq!(read::<FlowRule>(line).to_string(), same);
    }
    for contradiction in ["dport=80", "tcp,src=fd00::1"] {
        let json = format!(r#"{{"priority":1,"match":"{contradiction}","actions":"drop"}}"#);
        assert!(serde_json::from_str::<FlowRule>(&json).is_err(), "{json}");
    }
}

#[test]
fn what_was_read_can_be_looked_at() {
    let rule: FlowRule =
        read("1 tcp,src=10.0.0.0/8,dport={22,80-90},state=new mirror:ids/64,forward:web0");
    let criteria = rule.matches.criteria();
    assert_eq!((criteria.ethertype, criteria.proto), (Some(0x0800), Some(6)));
    assert_eq!(criteria.dport.as_ref().unwrap().ranges(), [(22, 22), (80, 90)]);
    assert!(criteria.state.unwrap().iter().eq([ConnState::New]));
    assert_eq!(criteria.src.as_ref().unwrap().prefixes(), ["10.0.0.0/8".parse().unwrap()]);
    let ids = "ids".parse().unwrap();
    assert_eq!(rule.actions.steps(), [Step::Mirror { port: ids, snap_bytes: Some(64) }]);
    assert_eq!(*rule.actions.verdict(), Verdict::Forward("web0".parse().unwrap()));
    let ports: Vec<_> = rule.actions.ports().map(ToString::to_string).collect();
    assert_eq!(ports, ["ids", "web0"]);
    let mut contradiction = criteria.clone();
    contradiction.proto = Some(1);
    assert_eq!(Match::try_from(contradiction).unwrap_err().token, "dport");
    assert_eq!(Match::try_from(criteria.clone()).unwrap(), rule.matches);
}

#[test]
fn a_burst_is_a_tenth_of_a_second_and_no_less_than_a_super_frame() {
    let limit = |text: &str| -> Limit {
        match read::<Actions>(&format!("limit:{text},allow")).steps() {
            [Step::Limit(limit)] => *limit,
            other => panic!("{other:?}"),
        }
    };
    let cases = [
        ("1000pps", 100),
        ("1pps", 1),
        ("10pps:burst=50", 50),
        ("1gbit", 100_000_000),
        ("1mbit", 524_288),
        ("1gbit:burst=100000:per-source", 800_000),
    ];
    for (text, units) in cases {
        assert_eq!(limit(text).burst_units(), units, "{text}");
    }
    assert!(limit("1pps:per-source").per_source);
}

#[test]
fn the_next_number_is_behind_all_others_until_they_run_out() {
    let id = |number: u32| FlowId::try_from(number).unwrap();
    let next = |numbers: &[u32]| {
        let numbers: ctl::Table<FlowId, ()> = numbers.iter().map(|n| (id(*n), ())).collect();
        FlowId::next(&numbers)
    };
    assert_eq!(next(&[]), Some(id(0)));
    assert_eq!(next(&[0, 7]), Some(id(8)));
    assert_eq!(next(&[0, 1, 5, FlowId::LIMIT - 1]), Some(id(2)));
    assert!(FlowId::try_from(FlowId::LIMIT).is_err());
    assert!("-1".parse::<FlowId>().is_err());
}
