use pktio::{Pool, PoolConfig};

use super::*;

const PORT: PortIndex = PortIndex(3);
const SIGHT: Sight =
    Sight { at: Nanos::from_secs(1), port: PORT, side: DropSide::Ingress, reason: None };

fn recorder(selection: Selection, snap_bytes: u32) -> Recorder {
    Recorder::new(ObserverId(1), selection, false, snap_bytes)
}

/// A page's frames: what was kept of each, and its length.
fn kept(page: &Page) -> Vec<(Vec<u8>, u32)> {
    page.frames().map(|(record, bytes)| (bytes.to_vec(), record.frame_bytes)).collect()
}

#[test]
fn what_is_recorded_is_the_beginning_of_each_frame_that_is_meant_in_order() {
    let mut pool = Pool::new(PoolConfig { small: 4, slabs: 1 }).unwrap();
    let selection = Selection { ports: Some(vec![PORT]), matches: None };
    let mut recorder = recorder(selection, 3);
    let snapshot = Snapshot::default();
    for (port, bytes) in [(PORT, &b"abcdef"[..]), (PortIndex(4), b"none"), (PORT, b"gh")] {
        let frame = pool.frame_from(bytes).unwrap();
        assert!(!recorder.record(Sight { port, ..SIGHT }, &frame, &snapshot));
        pool.recycle(frame);
    }
    assert!(recorder.pages().take().is_none(), "a page that is not full is not in a hurry");
    assert!(recorder.rest(false), "nobody has anything to do, and the control thread must be told");
    let page = recorder.pages().take().unwrap();
    assert_eq!(kept(&page), [(b"abc".to_vec(), 6), (b"gh".to_vec(), 2)]);
    assert!(recorder.missed().next().is_none());
}

#[test]
fn a_reader_that_does_not_read_loses_frames_which_are_counted_and_gets_the_next_ones() {
    let mut pool = Pool::new(PoolConfig { small: 4, slabs: 4 }).unwrap();
    let mut recorder = recorder(Selection::default(), u32::MAX);
    let snapshot = Snapshot::default();
    let frame = pool.frame_from(&[0x5a; 60_000]).unwrap();
    let fitting = u64::try_from(PAGES * (PAGE_BYTES / 60_000)).unwrap();
    for _ in 0..fitting + 5 {
        recorder.record(SIGHT, &frame, &snapshot);
    }
    assert_eq!(recorder.missed().collect::<Vec<_>>(), [(PORT, 5)]);
    let pages = recorder.pages();
    let page = pages.take().unwrap();
    assert_eq!(kept(&page).len(), PAGE_BYTES / 60_000);
    pages.give_back(page);
    recorder.record(SIGHT, &frame, &snapshot);
    assert_eq!(recorder.missed().collect::<Vec<_>>(), [(PORT, 5)]);
    assert_eq!(kept(&recorder.take_page().unwrap()).len(), 1, "a page that came back is empty");
}

#[test]
fn the_control_thread_is_told_once_until_it_has_looked() {
    let outbound = Outbound::new(3);
    assert_eq!(outbound.push(1), Ok(true));
    assert_eq!(outbound.push(2), Ok(false));
    assert_eq!((outbound.pop(), outbound.pop(), outbound.pop()), (Some(1), Some(2), None));
    assert_eq!(
        (outbound.push(3), outbound.push(4), outbound.push(5)),
        (Ok(true), Ok(false), Ok(false))
    );
    assert_eq!(outbound.push(6), Err(6));
}

#[test]
fn whoever_is_shown_lost_frames_is_shown_no_others() {
    let mut pool = Pool::new(PoolConfig { small: 4, slabs: 1 }).unwrap();
    let frame = pool.frame_from(b"frame").unwrap();
    let mut observers = Observers::default();
    assert!(observers.is_empty());
    for lost_only in [false, true] {
        let id = ObserverId(u64::from(lost_only));
        observers.recorders.push(Recorder::new(id, Selection::default(), lost_only, 9));
    }
    let lost = Sight { reason: Some(DropReason::NoRoute), ..SIGHT };
    for sight in [SIGHT, lost, SIGHT] {
        observers.show(sight, &frame, &Snapshot::default());
    }
    let reasons = |recorder: &mut Recorder| -> Vec<_> {
        recorder.take_page().unwrap().frames().map(|(record, _)| record.reason).collect()
    };
    assert_eq!(reasons(&mut observers.recorders[0]), [None, None]);
    assert_eq!(reasons(&mut observers.recorders[1]), [Some(DropReason::NoRoute)]);
}
