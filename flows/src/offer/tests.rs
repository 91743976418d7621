//! What is offered and what is not, and how often.

use super::*;

fn offer(number: u8) -> Offer {
    let (src, dst) = (MacAddr([2, 0, 0, 0, 0, number]), MacAddr([2, 0, 0, 0, 1, number]));
    let (ingress, egress) = (PortIndex(0), PortIndex(1));
    let (vid, tag, routed) = (Vid::NONE, Vid::NONE, None);
    Offer { generation: Generation(1), ingress, egress, vid, tag, src, dst, routed }
}

fn at(millis: u64) -> Nanos {
    Nanos::from_micros(millis * 1000)
}

fn all(offers: &mut Offers) -> Vec<Offer> {
    std::iter::from_fn(|| offers.next()).collect()
}

#[test]
fn an_offer_is_made_once_and_again_after_a_while() {
    let mut offers = Offers::new();
    for now in [1000, 1001, 1100] {
        offers.make(offer(1), at(now));
    }
    offers.make(offer(2), at(1100));
    assert_eq!(all(&mut offers), [offer(1), offer(2)]);
    offers.make(offer(1), at(1101));
    assert_eq!(all(&mut offers), [offer(1)]);
    assert_eq!(all(&mut offers), []);
}

#[test]
fn no_more_are_made_at_a_time_than_there_is_room_for() {
    let mut offers = Offers::new();
    for last in 0..2 {
        let another = |number| Offer { tag: Vid(last), ..offer(number) };
        (0..=u8::MAX).for_each(|number| offers.make(another(number), at(1000)));
    }
    assert!(!offers.has_room(at(1001)));
    assert_eq!(all(&mut offers).len(), AT_A_TIME);
    assert!(!offers.has_room(at(1100)) && offers.has_room(at(1101)));
}

#[test]
fn a_lost_neighbour_is_told_of_once() {
    let mut offers = Offers::new();
    let told = [0, 1, 1, 2].map(|losses| {
        offers.note_losses(losses);
        offers.take_move()
    });
    assert_eq!(told, [false, true, false, true]);
}

#[test]
fn a_move_is_told_once() {
    let mut offers = Offers::new();
    assert!(!offers.take_move());
    offers.note_move();
    assert_eq!([offers.take_move(), offers.take_move()], [true, false]);
}
