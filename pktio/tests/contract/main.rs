//! The contract of [`pktio::Port`], over every kind of port. A [`Rig`] is a port and a way to its far end:
//! for `mem` another port, for `pcap` files, for the kernel's ports a packet socket in a container.

mod bpf;
mod frugality;
mod kernel;
mod memory;
mod shortcut;
mod suite;
mod underlay;

use std::process::ExitCode;

use netlab::{Need, test};

fn main() -> ExitCode {
    netlab::test_main([
        test!(mem_keeps_the_contract),
        test!(null_keeps_the_contract),
        test!(pcap_keeps_the_contract),
        test!(tap_keeps_the_contract).needs(Need::Tun),
        test!(packet_keeps_the_contract),
        test!(xdp_keeps_the_contract).needs(Need::Bpf),
        test!(tap_allocates_nothing_per_frame).needs(Need::Tun),
        test!(packet_allocates_nothing_per_frame),
        test!(xdp_allocates_nothing_per_frame).needs(Need::Bpf),
        test!(a_long_frame_without_memory_leaves_no_pieces_behind).needs(Need::Bpf),
        test!(a_tap_reports_that_its_container_died).needs(Need::Tun),
        test!(a_packet_port_tells_a_device_that_is_down_from_one_that_is_gone),
        test!(an_independent_tap_end_sees_what_a_packet_port_sends).needs(Need::Tun),
        test!(a_program_at_tcx_obeys_its_map_and_goes_with_its_link).needs(Need::Bpf),
        test!(a_map_has_what_was_put_into_it).needs(Need::Bpf),
        test!(a_program_runs_without_a_device_and_what_the_verifier_dislikes_is_said)
            .needs(Need::Bpf),
        test!(a_connection_is_steered_past_whoever_has_its_port).needs(Need::Bpf),
        test!(a_datagram_is_steered_past_whoever_has_its_port).needs(Need::Bpf),
        test!(a_frame_takes_its_shortcut_or_goes_to_the_port_and_never_both_ways).needs(Need::Bpf),
        test!(a_port_at_which_the_kernel_refuses_shortcuts_says_why_and_is_one_without)
            .needs(Need::Bpf),
        test!(a_shortcut_ends_by_itself_when_its_time_is_over).needs(Need::Bpf),
        test!(a_tag_is_part_of_what_a_shortcut_is_for_and_stays_on_the_frame).needs(Need::Bpf),
        test!(no_frame_is_lost_or_doubled_while_tables_are_replaced).needs(Need::Bpf),
        test!(what_a_shortcut_is_not_for_goes_to_the_port).needs(Need::Bpf),
        test!(a_datagram_is_rewritten_on_its_shortcut).needs(Need::Bpf),
        test!(a_datagram_without_a_checksum_stays_without).needs(Need::Bpf),
        test!(a_checksum_is_right_whatever_it_was).needs(Need::Bpf),
        test!(a_checksum_that_is_half_done_stays_so).needs(Need::Bpf),
        test!(a_checksum_that_is_half_done_inside_leaves_the_outer_one_finished).needs(Need::Bpf),
        test!(what_is_not_the_plainest_datagram_goes_to_the_port).needs(Need::Bpf),
        test!(super_frames_of_datagrams_go_to_the_port).needs(Need::Bpf),
        test!(datagrams_of_nobody_go_as_all_frames_do).needs(Need::Bpf),
        test!(a_segment_that_fits_is_rewritten_and_moves_its_senders_trail_on).needs(Need::Bpf),
        test!(what_was_sent_before_goes_by_and_moves_nothing).needs(Need::Bpf),
        test!(options_and_padding_are_no_data).needs(Need::Bpf),
        test!(a_segments_checksum_may_be_zero).needs(Need::Bpf),
        test!(what_fits_no_window_goes_to_the_port_and_moves_nothing).needs(Need::Bpf),
        test!(only_data_and_acknowledgments_take_the_shortcut).needs(Need::Bpf),
        test!(what_is_not_the_plainest_segment_goes_to_the_port).needs(Need::Bpf),
        test!(segments_go_by_only_while_both_trails_are_open).needs(Need::Bpf),
        test!(each_direction_moves_a_word_of_its_own).needs(Need::Bpf),
        test!(a_super_frame_moves_the_trail_by_all_that_is_in_it).needs(Need::Bpf),
        test!(datagrams_arrive_whole_in_order_and_with_their_marks),
        test!(frames_that_share_a_message_arrive_as_if_they_did_not),
        test!(a_super_frame_is_cut_at_the_wire_and_nowhere_else),
        test!(the_kernels_own_vxlan_device_understands_us_and_we_it),
        test!(outer_headers_are_as_rfc_7348_wants_them),
        test!(what_cannot_be_sent_is_counted_by_its_reason_and_the_rest_is_sent),
        test!(the_mtu_towards_a_remote_endpoint_is_that_of_the_route),
        test!(an_endpoint_is_had_by_one_switch_and_all_of_its_queues),
        test!(many_datagrams_come_in_bounded_bursts_and_a_dry_pool_is_survived),
        test!(tcp_passes_between_a_container_and_the_kernels_vxlan_device).needs(Need::Tun),
        test!(tcp_passes_between_containers_on_two_hosts).needs(Need::Tun),
    ])
}

use bpf::{
    a_connection_is_steered_past_whoever_has_its_port,
    a_datagram_is_steered_past_whoever_has_its_port, a_map_has_what_was_put_into_it,
    a_program_at_tcx_obeys_its_map_and_goes_with_its_link,
    a_program_runs_without_a_device_and_what_the_verifier_dislikes_is_said,
};
use frugality::{
    packet_allocates_nothing_per_frame, tap_allocates_nothing_per_frame,
    xdp_allocates_nothing_per_frame,
};
use kernel::{
    a_long_frame_without_memory_leaves_no_pieces_behind,
    a_packet_port_tells_a_device_that_is_down_from_one_that_is_gone,
    a_tap_reports_that_its_container_died, an_independent_tap_end_sees_what_a_packet_port_sends,
    packet_keeps_the_contract, tap_keeps_the_contract, xdp_keeps_the_contract,
};
use memory::{mem_keeps_the_contract, null_keeps_the_contract, pcap_keeps_the_contract};
use shortcut::datagrams::{
    a_checksum_is_right_whatever_it_was,
    a_checksum_that_is_half_done_inside_leaves_the_outer_one_finished,
    a_checksum_that_is_half_done_stays_so, a_datagram_is_rewritten_on_its_shortcut,
    a_datagram_without_a_checksum_stays_without, datagrams_of_nobody_go_as_all_frames_do,
    super_frames_of_datagrams_go_to_the_port, what_is_not_the_plainest_datagram_goes_to_the_port,
};
use shortcut::segments::{
    a_segment_that_fits_is_rewritten_and_moves_its_senders_trail_on,
    a_segments_checksum_may_be_zero, a_super_frame_moves_the_trail_by_all_that_is_in_it,
    each_direction_moves_a_word_of_its_own, only_data_and_acknowledgments_take_the_shortcut,
    options_and_padding_are_no_data, segments_go_by_only_while_both_trails_are_open,
    what_fits_no_window_goes_to_the_port_and_moves_nothing,
    what_is_not_the_plainest_segment_goes_to_the_port,
    what_was_sent_before_goes_by_and_moves_nothing,
};
use shortcut::{
    a_frame_takes_its_shortcut_or_goes_to_the_port_and_never_both_ways,
    a_port_at_which_the_kernel_refuses_shortcuts_says_why_and_is_one_without,
    a_shortcut_ends_by_itself_when_its_time_is_over,
    a_tag_is_part_of_what_a_shortcut_is_for_and_stays_on_the_frame,
    no_frame_is_lost_or_doubled_while_tables_are_replaced,
    what_a_shortcut_is_not_for_goes_to_the_port,
};
use underlay::outer::{
    an_endpoint_is_had_by_one_switch_and_all_of_its_queues,
    outer_headers_are_as_rfc_7348_wants_them,
    the_mtu_towards_a_remote_endpoint_is_that_of_the_route,
};
use underlay::stream::{
    tcp_passes_between_a_container_and_the_kernels_vxlan_device,
    tcp_passes_between_containers_on_two_hosts,
};
use underlay::{
    a_super_frame_is_cut_at_the_wire_and_nowhere_else,
    datagrams_arrive_whole_in_order_and_with_their_marks,
    frames_that_share_a_message_arrive_as_if_they_did_not,
    many_datagrams_come_in_bounded_bursts_and_a_dry_pool_is_survived,
    the_kernels_own_vxlan_device_understands_us_and_we_it,
    what_cannot_be_sent_is_counted_by_its_reason_and_the_rest_is_sent,
};
