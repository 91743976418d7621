//! [`Responder`]: what becomes of a message.

use std::net::IpAddr;

use domain::base::charstr::CharStr;
use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder, PushError};
use domain::base::name::{ParsedName, ToLabelIter};
use domain::base::rdata::ComposeRecordData;
use domain::base::{Message, MessageBuilder, Question, StaticCompressor, Ttl};
use domain::rdata::{A, Aaaa, Hinfo, Ptr};

use super::directory::{Directory, Entry};

/// For how long others may remember an address. A container that comes back may have another one.
const TTL: Ttl = Ttl::from_secs(5);
/// The longest message over UDP that everybody takes (RFC 1035 section 4.2.1).
const PLAIN_UDP_BYTES: usize = 512;
/// The longest message over UDP that we send and ask for: it fits every path of IPv6 unfragmented (RFC 9715 section 3).
const UDP_BYTES: u16 = 1232;

/// How a message came, and its answer goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram.
    Udp,
    /// In a stream, where nothing is too long.
    Tcp,
}

/// Whether names that are not of the network are asked for elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forwarding {
    /// They are.
    On,
    /// They are refused: the network has no way out, for names neither.
    Off,
}

/// Answers for one network.
#[derive(Debug, Clone, Copy)]
pub struct Responder<'a> {
    /// Its names.
    pub directory: &'a Directory,
    /// What becomes of other names.
    pub forwarding: Forwarding,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This is the answer.
    Answer(Vec<u8>),
    /// Others are to be asked.
    Forward(Query),
    /// It is no query. Whoever answers what is no query can be made to talk to himself.
    Silence,
}

/// A query that others are to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    message: Vec<u8>,
    /// Header and question, which come back with the answer.
    asked_bytes: usize,
    limit_bytes: usize,
    transport: Transport,
}

/// Puts records into an answer.
type PushRecords<'a> =
    dyn Fn(&mut AnswerBuilder<StaticCompressor<Vec<u8>>>) -> Result<(), PushError> + 'a;

/// A message that can be answered.
struct Asked<'a> {
    message: Message<&'a [u8]>,
    question: Question<ParsedName<&'a [u8]>>,
    /// What the sender says of himself, if he speaks EDNS.
    edns: Option<Edns>,
    transport: Transport,
}

/// What somebody who speaks EDNS says of himself (RFC 6891 section 6.1).
#[derive(Clone, Copy)]
struct Edns {
    /// The longest datagram that he takes.
    datagram_bytes: u16,
    version: u8,
    /// He understands DNSSEC, which is repeated to him (RFC 3225 section 3).
    is_dnssec_ok: bool,
}

impl Responder<'_> {
    /// What becomes of a message.
    pub fn attend(&self, bytes: &[u8], transport: Transport) -> Verdict {
        let Ok(message) = Message::from_octets(bytes) else { return Verdict::Silence };
        if message.header().qr() {
            return Verdict::Silence;
        }
        if message.header().opcode() != Opcode::QUERY {
            return Verdict::Answer(bare(message, Rcode::NOTIMP));
        }
        match Asked::read(message, transport) {
            Some(asked) => self.answer(&asked),
            None => Verdict::Answer(bare(message, Rcode::FORMERR)),
        }
    }

    fn answer(&self, asked: &Asked) -> Verdict {
        let Asked { question, edns, .. } = asked;
        if edns.is_some_and(|edns| edns.version > 0) {
            return Verdict::Answer(asked.refuse(OptRcode::BADVERS, self.forwarding));
        }
        let rtype = question.qtype();
        if question.qclass() != Class::IN || matches!(rtype, Rtype::AXFR | Rtype::IXFR) {
            return Verdict::Answer(asked.refuse(OptRcode::REFUSED, self.forwarding));
        }
        let entry = self.directory.look_up(question.qname(), rtype);
        match (entry, self.forwarding) {
            (Entry::Foreign, Forwarding::On) => asked.forward(),
            (Entry::Foreign, Forwarding::Off) => {
                Verdict::Answer(asked.refuse(OptRcode::REFUSED, self.forwarding))
            }
            (entry, forwarding) => Verdict::Answer(asked.own(&entry, forwarding)),
        }
    }
}

impl<'a> Asked<'a> {
    /// A query with one question, and at most one record that says something about the sender.
    fn read(message: Message<&'a [u8]>, transport: Transport) -> Option<Self> {
        let counts = message.header_counts();
        if counts.ancount() > 0 || counts.nscount() > 0 {
            return None;
        }
        let question = message.sole_question().ok().filter(|it| !it.qname().is_compressed())?;
        let mut edns = None;
        for record in message.additional().ok()? {
            let record = record.ok()?;
            if record.rtype() == Rtype::OPT {
                let first = message.opt()?;
                let said = Edns {
                    datagram_bytes: first.udp_payload_size(),
                    version: first.version(),
                    is_dnssec_ok: first.dnssec_ok(),
                };
                if edns.replace(said).is_some() {
                    return None;
                }
            }
        }
        Some(Self { message, question, edns, transport })
    }

    /// The longest answer.
    fn limit_bytes(&self) -> usize {
        match (self.transport, self.edns) {
            (Transport::Tcp, _) => usize::from(u16::MAX),
            (Transport::Udp, Some(Edns { datagram_bytes, .. })) => {
                usize::from(datagram_bytes.min(UDP_BYTES)).max(PLAIN_UDP_BYTES)
            }
            (Transport::Udp, None) => PLAIN_UDP_BYTES,
        }
    }

    fn forward(&self) -> Verdict {
        let Self { message, question, transport, .. } = self;
        let name_bytes = usize::from(question.qname().compose_len());
        Verdict::Forward(Query {
            message: message.as_slice().to_vec(),
            asked_bytes: 12 + name_bytes + 4,
            limit_bytes: self.limit_bytes(),
            transport: *transport,
        })
    }

    /// An answer without records.
    fn refuse(&self, rcode: OptRcode, forwarding: Forwarding) -> Vec<u8> {
        self.compose(rcode, forwarding, false, |_| Ok(()))
    }

    /// An answer from the directory, which is the authority for its names.
    fn own(&self, entry: &Entry, forwarding: Forwarding) -> Vec<u8> {
        let rcode = if *entry == Entry::Nobody { OptRcode::NXDOMAIN } else { OptRcode::NOERROR };
        self.compose(rcode, forwarding, true, |answer| self.push_records(answer, entry))
    }

    /// The records that are asked for. To the question for everything there is one answer (RFC 8482 section 4.2).
    fn push_records(
        &self,
        answer: &mut AnswerBuilder<StaticCompressor<Vec<u8>>>,
        entry: &Entry,
    ) -> Result<(), PushError> {
        let rtype = self.question.qtype();
        match entry {
            Entry::Addresses(_) | Entry::Name(_) if rtype == Rtype::ANY => {
                let cpu = CharStr::from_octets(&b"RFC8482"[..]).unwrap_or(CharStr::empty());
                self.push(answer, Hinfo::new(cpu, CharStr::empty()))
            }
            Entry::Addresses(addresses) => {
                // Each asker meets another one first, so that those of one name share what there is to do.
                let (rest, first) = addresses
                    .split_at(usize::from(self.message.header().id()) % addresses.len().max(1));
                first.iter().chain(rest).try_for_each(|address| match (*address, rtype) {
                    (IpAddr::V4(addr), Rtype::A) => self.push(answer, A::new(addr)),
                    (IpAddr::V6(addr), Rtype::AAAA) => self.push(answer, Aaaa::new(addr)),
                    _ => Ok(()),
                })
            }
            Entry::Name(name) if rtype == Rtype::PTR => self.push(answer, Ptr::new(name)),
            _ => Ok(()),
        }
    }

    fn push(
        &self,
        answer: &mut AnswerBuilder<StaticCompressor<Vec<u8>>>,
        data: impl ComposeRecordData,
    ) -> Result<(), PushError> {
        answer.push((self.question.qname(), TTL, data))
    }

    /// An answer. What is longer than the asker takes is sent without its records, and marked: he asks again over TCP
    /// (RFC 2181 section 9).
    fn compose(
        &self,
        rcode: OptRcode,
        forwarding: Forwarding,
        is_authority: bool,
        push: impl Fn(&mut AnswerBuilder<StaticCompressor<Vec<u8>>>) -> Result<(), PushError>,
    ) -> Vec<u8> {
        let flags = (is_authority, forwarding);
        let whole = self.build(rcode, flags, Some(&push));
        // Without records there is always room: a question is shorter than the shortest limit.
        whole.or_else(|_| self.build(rcode, flags, None)).unwrap_or_default()
    }

    /// An answer with records, or one that is marked as without those that it should have.
    fn build(
        &self,
        rcode: OptRcode,
        (is_authority, forwarding): (bool, Forwarding),
        push: Option<&PushRecords>,
    ) -> Result<Vec<u8>, PushError> {
        let builder = MessageBuilder::from_target(StaticCompressor::new(Vec::new()));
        let mut builder = builder.unwrap_or_else(|never| match never {});
        builder.set_push_limit(self.limit_bytes());
        let mut answer = builder.start_answer(&self.message, rcode.rcode())?;
        let header = answer.header_mut();
        header.set_aa(is_authority);
        header.set_ra(forwarding == Forwarding::On);
        header.set_tc(push.is_none());
        if let Some(push) = push {
            push(&mut answer)?;
        }
        self.push_edns(answer.additional(), rcode)
    }

    /// Who speaks EDNS is answered in kind (RFC 6891 section 6.1.1).
    fn push_edns(
        &self,
        mut additional: AdditionalBuilder<StaticCompressor<Vec<u8>>>,
        rcode: OptRcode,
    ) -> Result<Vec<u8>, PushError> {
        if let Some(Edns { is_dnssec_ok, .. }) = self.edns {
            additional.opt(|opt| {
                opt.set_udp_payload_size(UDP_BYTES);
                opt.set_dnssec_ok(is_dnssec_ok);
                opt.set_rcode(rcode);
                Ok(())
            })?;
        }
        Ok(additional.finish().into_target())
    }
}

/// The answer to what cannot be understood: the header, and that it could not.
fn bare(message: Message<&[u8]>, rcode: Rcode) -> Vec<u8> {
    let mut answer = MessageBuilder::new_vec();
    let header = answer.header_mut();
    header.set_id(message.header().id());
    header.set_opcode(message.header().opcode());
    header.set_rd(message.header().rd());
    header.set_qr(true);
    header.set_rcode(rcode);
    answer.finish()
}

impl Query {
    /// How it came: it is forwarded alike.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The query as it is sent on: with another identifier, so that who does not see it cannot answer it.
    pub(super) fn with_id(&self, id: u16) -> Vec<u8> {
        let mut message = self.message.clone();
        Message::from_octets(&mut message[..])
            .into_iter()
            .for_each(|mut message| message.header_mut().set_id(id));
        message
    }

    /// Whether a message is the answer to what was sent on with an identifier: the same question, in whatever letters
    /// (RFC 5452 section 9.1).
    pub(super) fn is_answered_by(&self, id: u16, answer: &[u8]) -> bool {
        let Ok(message) = Message::from_octets(answer) else { return false };
        let header = message.header();
        let question = 12..self.asked_bytes;
        let is_same = || {
            let asked = self.message.get(question.clone());
            let echoed = answer.get(question.clone());
            asked.zip(echoed).is_some_and(|(asked, echoed)| asked.eq_ignore_ascii_case(echoed))
        };
        header.qr()
            && header.id() == id
            && header.opcode() == Opcode::QUERY
            && message.header_counts().qdcount() == 1
            && is_same()
    }

    /// An answer of somebody else's as the asker gets it: with his identifier and spelling, and no longer than he takes.
    pub(super) fn deliver(&self, mut answer: Vec<u8>) -> Vec<u8> {
        if answer.len() > self.limit_bytes {
            return self.truncated(&answer);
        }
        if let Some((own, asked)) =
            answer.get_mut(12..self.asked_bytes).zip(self.message.get(12..self.asked_bytes))
        {
            own.copy_from_slice(asked);
        }
        let id = Message::from_slice(&self.message).map_or(0, |query| query.header().id());
        if let Ok(mut message) = Message::from_octets(&mut answer[..]) {
            let header = message.header_mut();
            header.set_id(id);
            // We are an authority for our own names only.
            header.set_aa(false);
            header.set_ra(true);
        }
        answer
    }

    /// That there is more of an answer of somebody else's than fits: the asker asks again over TCP.
    fn truncated(&self, answer: &[u8]) -> Vec<u8> {
        let rcode = Message::from_slice(answer).map_or(Rcode::SERVFAIL, |it| it.header().rcode());
        let flags = (false, Forwarding::On);
        let cut = self.asked().map(|asked| asked.build(rcode.into(), flags, None));
        cut.and_then(Result::ok).unwrap_or_default()
    }

    /// The answer when nobody answered.
    pub fn failure(&self) -> Vec<u8> {
        let refuse = |asked: Asked| asked.refuse(OptRcode::SERVFAIL, Forwarding::On);
        self.asked().map(refuse).unwrap_or_default()
    }

    fn asked(&self) -> Option<Asked<'_>> {
        let message = Message::from_octets(&self.message[..]).ok()?;
        Asked::read(message, self.transport)
    }
}
