//! What a socket takes the place of, and what it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Barrier;
use std::thread;

use ctl::{ListenError, SocketFile};

use crate::client::Directory;

#[test]
fn only_a_socket_at_which_nobody_listens_is_replaced() {
    let directory = Directory::new("replaced");
    let path = directory.socket();
    fs::write(&path, "precious").unwrap();
    let error = SocketFile::bind(&path).unwrap_err();
    assert!(matches!(error, ListenError::Occupied { .. }), "{error}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    // A name of something is that thing, wherever it leads.
    let link = directory.socket().with_extension("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = SocketFile::bind(&link).unwrap_err();
    assert!(matches!(error, ListenError::Link { .. }), "{error}");
    assert!(error.to_string().contains("a symbolic link, which is not followed"), "{error}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(SocketFile::bind(&path), Err(ListenError::Occupied { .. })));
    fs::remove_dir(&path).unwrap();
    let somebody = UnixListener::bind(&path).unwrap();
    assert!(matches!(SocketFile::bind(&path), Err(ListenError::Served { .. })));
    assert!(UnixStream::connect(&path).is_ok(), "it was taken away");
    // What it leaves behind is nobody's.
    drop(somebody);
    let (_listener, _file) = SocketFile::bind(&path).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Each round finds what a dead program left behind, which all of them may replace.
#[test]
fn of_several_that_listen_at_once_one_has_the_socket_and_the_others_say_who() {
    let directory = Directory::new("at-once");
    let path = directory.socket();
    for _ in 0..100 {
        drop(UnixListener::bind(&path).unwrap());
        let start = Barrier::new(8);
        let bound: Vec<_> = thread::scope(|scope| {
            let bind = || {
                start.wait();
                SocketFile::bind(&path)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(bind)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (served, refused): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        assert_eq!(served.len(), 1);
        assert!(UnixStream::connect(&path).is_ok(), "it is not the one who has it");
        for error in refused {
            let (error, pid) = (error.unwrap_err().to_string(), std::process::id());
            assert!(error.contains(&format!("pid {pid}")), "{error}");
        }
    }
}

#[test]
fn at_the_end_its_own_file_is_removed_and_nobody_elses() {
    let directory = Directory::new("removed");
    let path = directory.socket();
    drop(SocketFile::bind(&path).unwrap());
    assert!(!path.exists());
    let socket = SocketFile::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(socket);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}
