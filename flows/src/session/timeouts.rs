//! [`Timeouts`]: how long a session without packets lives.

use pktio::wire::field::protocol;

use super::control::Control;
use super::{Session, State, TcpState};

/// How long a session without packets lives, in seconds. The defaults are the RFCs'
/// recommendations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP that was not answered yet. RFC 4787 REQ-5: 300, not under 120; it makes no difference
    /// between answered and unanswered.
    pub udp_unreplied_seconds: u32,
    /// UDP. RFC 4787 REQ-5: 300, not under 120.
    pub udp_seconds: u32,
    /// TCP before the handshake is complete. RFC 5382 REQ-5, "transitory": 240.
    pub tcp_opening_seconds: u32,
    /// TCP. RFC 5382 REQ-5: 7440, which is two hours and four minutes.
    pub tcp_established_seconds: u32,
    /// TCP of which one end closed. The other may still send (RFC 6146 section 3.5.2.2): 7440.
    pub tcp_half_closed_seconds: u32,
    /// TCP that both ends closed, or one gave up. RFC 5382 REQ-5, RFC 7857 section 2.2: 240.
    pub tcp_closing_seconds: u32,
    /// ICMP queries. RFC 5508 REQ-2: not under 60.
    pub icmp_seconds: u32,
    /// Every other protocol; 600, as Linux has it.
    pub other_seconds: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            udp_unreplied_seconds: 300,
            udp_seconds: 300,
            tcp_opening_seconds: 240,
            tcp_established_seconds: 7440,
            tcp_half_closed_seconds: 7440,
            tcp_closing_seconds: 240,
            icmp_seconds: 60,
            other_seconds: 600,
        }
    }
}

/// The longest timeout that can be kept, 48 days; longer ones are taken for this.
pub const MAX_TIMEOUT_SECONDS: u32 = 1 << 22;

impl Timeouts {
    /// How long a session of that protocol and state lives without packets.
    pub(super) fn of(&self, protocol: u8, control: Control) -> u32 {
        self.seconds(protocol, control.state(), control.is_replied(), control.is_assured())
    }

    /// How long a session still lives if nothing is said in it any more.
    pub fn left_to(&self, session: &Session) -> u32 {
        let Session { state, is_replied, is_assured, .. } = *session;
        let protocol = session.initiator.tuple.protocol;
        let all = self.seconds(protocol, Some(state), is_replied, is_assured);
        all.saturating_sub(session.idle_seconds)
    }

    fn seconds(
        &self,
        protocol: u8,
        state: Option<State>,
        is_replied: bool,
        is_assured: bool,
    ) -> u32 {
        use TcpState::*;
        let seconds = match (state, protocol) {
            (Some(State::Tcp(state)), _) => match state {
                SynSent | SimultaneousOpen | SynReceived => self.tcp_opening_seconds,
                Established if !is_assured => self.tcp_opening_seconds,
                Established => self.tcp_established_seconds,
                FinWait(_) | CloseWait(_) => self.tcp_half_closed_seconds,
                LastAck(_) | TimeWait | Closed => self.tcp_closing_seconds,
            },
            (_, protocol::UDP) if is_replied => self.udp_seconds,
            (_, protocol::UDP) => self.udp_unreplied_seconds,
            (_, protocol::ICMP | protocol::ICMPV6) => self.icmp_seconds,
            _ => self.other_seconds,
        };
        seconds.min(MAX_TIMEOUT_SECONDS)
    }
}
