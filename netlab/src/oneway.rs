//! Traffic one way: a thread sends while another one counts what arrives, until nothing does any more.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{LabError, socket};
use crate::sys::{self, ReceiveBatch};

/// How long the receiver sleeps when nothing is there. It is never woken by a datagram: that would cost the
/// sender, in whose context datagrams arrive, several times as much as the datagram itself.
const NAP: Duration = Duration::from_micros(50);
/// How long the receiver waits for stragglers.
const STRAGGLERS: Duration = Duration::from_millis(100);
/// At most how long, if they do not end.
const MOST_STRAGGLERS: Duration = Duration::from_secs(3);

/// Sends and receives at once. `receive` is told by its flag that nothing more will be sent, also when `send` panicked:
/// else it would wait for ever.
pub(crate) fn at_once<S: Send, R: Send>(
    send: impl FnOnce() -> S + Send,
    receive: impl FnOnce(&AtomicBool) -> R + Send,
) -> (S, R) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(&done));
        let sent = scope.spawn(send).join();
        done.store(true, Ordering::Relaxed);
        let received = receiving.join();
        (resumed(sent), resumed(received))
    })
}

/// What a thread returned. If it panicked, so does this one.
fn resumed<T>(joined: std::thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Hands `note` the datagrams that arrive, how many they are and when, until nothing is sent any more and no
/// straggler comes, or too long after `end`.
pub(crate) fn receive(
    far: &UdpSocket,
    batch: &mut ReceiveBatch,
    (done, end): (&AtomicBool, Instant),
    mut note: impl FnMut(&ReceiveBatch, usize, Instant),
) -> Result<(), LabError> {
    let mut last = Instant::now();
    while last < end + MOST_STRAGGLERS {
        match batch.receive(far) {
            Ok(count) => {
                last = Instant::now();
                note(batch, count, last);
            }
            Err(error) if !sys::is_passing(&error) => return Err(socket("receive UDP")(error)),
            Err(_) if done.load(Ordering::Relaxed) && last.elapsed() > STRAGGLERS => break,
            Err(_) => std::thread::sleep(NAP),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_panics_leaves_no_receiver_behind() {
        let until_told = |done: &AtomicBool| {
            while !done.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        };
        let together = std::panic::catch_unwind(|| at_once(|| panic!("a bad look"), until_told));
        assert!(together.is_err());
    }

    #[test]
    fn what_arrives_is_noted_until_nothing_is_sent_any_more() {
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.set_nonblocking(true).unwrap();
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = far.local_addr().unwrap();
        let mut batch = ReceiveBatch::new(4);
        let mut lengths = Vec::new();
        let ((), received) = at_once(
            || (1..=9).for_each(|bytes| _ = near.send_to(&vec![0; bytes * 100], target).unwrap()),
            |done| {
                let end = Instant::now() + Duration::from_secs(5);
                receive(&far, &mut batch, (done, end), |batch, count, _| {
                    lengths.extend((0..count).map(|number| batch.length_bytes(number)));
                })
            },
        );
        received.unwrap();
        assert_eq!(lengths, [100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }
}
