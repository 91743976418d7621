//! The `main` of a test program whose tests need a network of their own.
//!
//! ```no_run
//! use netlab::{Container, TestResult, test};
//!
//! fn a_container_has_a_loopback_interface() -> TestResult {
//!     Container::new()?.link("lo")?;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     netlab::test_main([test!(a_container_has_a_loopback_interface)])
//! }
//! ```
//!
//! The crate's manifest says `harness = false` for such a program. It enters the sandbox before there
//! is a second thread, so its tests need no root; then they run in parallel, each in namespaces that it
//! makes. What this kernel or user cannot do at all is found out by a [`Need`]'s probe, and said
//! loudly; a test that fails is never taken for one that cannot be run.

use std::fs::OpenOptions;
use std::io;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use rustix::process::geteuid;

/// What a test returns, or what makes the scene of several: any error that can be printed fails it.
pub type TestResult<T = ()> = Result<T, Failed>;

/// Something that a test cannot do without, and that not every system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The right to open `/dev/net/tun`. A user namespace cannot give it.
    Tun,
    /// The right to load eBPF programs, which AF_XDP needs. A user namespace cannot give it.
    Bpf,
    /// Other users than this one. A user namespace has none.
    OtherUsers,
    /// Two cores that this process may use.
    TwoCores,
    /// A container engine or the like. Containers of real engines need the real root as well.
    Installed {
        /// A program of it, by its path.
        program: &'static str,
        /// The package of Debian that has it.
        package: &'static str,
    },
    /// The program `nft`, by which the kernel is told to translate addresses.
    Nft,
}

impl Need {
    /// Why it is not to be had here, if it is not.
    fn missing(self) -> Option<String> {
        match self {
            Self::Tun => probe_tun().err().map(|error| {
                format!("cannot open /dev/net/tun ({error}); run as root, or `chmod 666` it")
            }),
            Self::Bpf => (!is_in_initial_user_namespace()).then(|| {
                "no eBPF programs can be loaded in a user namespace; run as root".to_owned()
            }),
            Self::OtherUsers => (!is_in_initial_user_namespace() || !geteuid().is_root())
                .then(|| "nobody else can be tried as; run as root".to_owned()),
            Self::Installed { program, package } if !std::path::Path::new(program).exists() => {
                Some(format!("there is no {program}; `apt-get install {package}`"))
            }
            Self::Installed { .. } => (!is_in_initial_user_namespace() || !geteuid().is_root())
                .then(|| "container engines need root; run as root".to_owned()),
            Self::TwoCores => (cores() < 2)
                .then(|| "this process may use one core only; give it another".to_owned()),
            Self::Nft => Command::new("nft").arg("--version").output().err().map(|error| {
                format!("cannot run nft ({error}); install nftables (Debian: apt install nftables)")
            }),
        }
    }
}

/// Whether all users are mapped to themselves, as only the initial user namespace has it.
fn is_in_initial_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn probe_tun() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open("/dev/net/tun").map(drop)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A test with its name.
#[derive(Debug, Clone)]
pub struct Test {
    name: String,
    run: fn() -> TestResult,
    /// What is done first, on the test's thread.
    before: fn(),
    needs: Vec<Need>,
    /// Why it is not run anywhere, if it is not.
    left_out: Option<&'static str>,
}

impl Test {
    /// A test. [`test!`](crate::test) makes one of a function.
    pub fn new(name: &'static str, run: fn() -> TestResult) -> Self {
        Self { name: name.to_owned(), run, before: || {}, needs: Vec::new(), left_out: None }
    }

    /// The same test, which cannot do without something.
    #[must_use]
    pub fn needs(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// The same test under other circumstances, which `before` makes on the test's thread.
    #[must_use]
    pub fn under(self, circumstances: &str, before: fn()) -> Self {
        Self { name: format!("{circumstances}::{}", self.name), before, ..self }
    }

    /// The same test, which is listed as ignored for this reason.
    #[must_use]
    pub fn left_out(self, reason: &'static str) -> Self {
        Self { left_out: Some(reason), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs it on a thread of its own, so that what was done before it is over with it.
    fn run(before: fn(), run: fn() -> TestResult) -> TestResult {
        let test = std::thread::spawn(move || {
            before();
            run()
        });
        test.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn into_trial(self) -> Trial {
        let Self { run, before, .. } = self;
        if let Some(reason) = self.left_out {
            return Trial::ignorable_test(self.name, move || Ok(Completion::ignored_with(reason)));
        }
        match self.needs.iter().find_map(|need| need.missing()) {
            None => Trial::test(self.name, move || Self::run(before, run)),
            Some(reason) => {
                eprintln!("NOT RUN: {}: {reason}", self.name);
                Trial::ignorable_test(self.name, move || Ok(Completion::ignored_with(reason)))
            }
        }
    }
}

/// Makes a [`Test`] of a function that has no parameters and returns [`TestResult`].
#[macro_export]
macro_rules! test {
    ($function:ident) => {
        $crate::Test::new(stringify!($function), $function)
    };
}

/// Runs the tests as `cargo test` expects. Call it as the whole of `main`, while there is one thread.
pub fn test_main(tests: impl IntoIterator<Item = Test>) -> ExitCode {
    // By `cargo bench`, too, what is here is run: it would be taken for no benchmark, and left out.
    let arguments = Arguments { bench: false, ..Arguments::from_args() };
    if !arguments.list
        && let Err(error) = hostnet::sandbox::enter()
    {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let trials = tests.into_iter().map(Test::into_trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
