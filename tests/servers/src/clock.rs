//! A wall clock that lies behind this machine's, for a program that asks the C library for the time.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("clock.c");

/// The clock, in a folder of the program's own.
pub(crate) struct Clock {
    behind: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// Builds it, so many seconds behind.
    pub(crate) fn behind(folder: &Path, seconds: u32) -> Self {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        std::fs::write(&source, SOURCE).expect("the folder can be written");
        let built =
            Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
        assert!(built.expect("`./dev test` installs cc").success(), "the clock cannot be built");
        let clock = Self { behind: folder.join("behind"), library };
        std::fs::write(&clock.behind, [0; 8]).expect("the folder can be written");
        clock.set(seconds);
        clock
    }

    /// Moves it; whoever has it sees it at once.
    pub(crate) fn set(&self, seconds: u32) {
        let mut file = OpenOptions::new().write(true).open(&self.behind).expect("it was made");
        file.write_all(&i64::from(seconds).to_ne_bytes()).expect("the folder can be written");
    }

    /// What `env` is told, before a program.
    pub(crate) fn variables(&self) -> [String; 2] {
        [format!("LD_PRELOAD={}", self.library.display()), format!("BEHIND={}", self.behind.display())]
    }
}
