//! The machine that an image belongs to: kernel, C library, processor.
//!
//! An image holds code and data that were chosen for the machine it was built on: the
//! kernel's vdso, functions that the C library and numpy picked for the processor, the
//! size of the area in which registers are saved. On another machine, with a home
//! directory shared between several say, it is not used.
//!
//! Tests can have another machine: in a debug build `PYIMG_TEST_HOST` names a part of it
//! (`kernel`, `libc`, `processor`) that is then not what it was. In a release build there is
//! nothing of that.

use std::fmt;

use crate::sys;

/// What an image needs to find again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Release and version: `6.1.0-18-amd64 #1 SMP … x86_64`.
    pub kernel: String,
    /// Version of the C library: `glibc 2.36`. Empty if this program is linked statically:
    /// then it has a C library of its own, whatever the machine has. Runs can do without, as
    /// the file of the image's C library is evidence.
    pub libc: String,
    /// The processor's features, as numbers that only serve to be compared.
    pub processor: String,
}

impl Host {
    /// This machine.
    pub fn read() -> Self {
        let kernel = match nix::sys::utsname::uname() {
            Ok(name) => [name.release(), name.version(), name.machine()]
                .map(|part| part.to_string_lossy().into_owned())
                .join(" "),
            // Cannot happen; if it did, no two such answers may pass for the same kernel.
            Err(_) => format!("unknown to process {}", std::process::id()),
        };
        let libc = match cfg!(target_feature = "crt-static") {
            true => String::new(),
            false => format!("glibc {}", sys::glibc_version()),
        };
        let processor: Vec<_> =
            sys::processor_features().iter().map(|word| format!("{word:x}")).collect();
        Self { kernel, libc, processor: processor.join("-") }.overridden()
    }

    #[cfg(debug_assertions)]
    fn overridden(mut self) -> Self {
        match std::env::var("PYIMG_TEST_HOST").as_deref() {
            Ok("kernel") => self.kernel.push_str(" another"),
            Ok("libc") => self.libc.push_str(" another"),
            Ok("processor") => self.processor.push_str("-0"),
            _ => {}
        }
        self
    }

    #[cfg(not(debug_assertions))]
    fn overridden(self) -> Self {
        self
    }

    /// What the two do not have in common, for a person.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.kernel != other.kernel {
            Some("kernel")
        } else if self.libc != other.libc && ![&self.libc, &other.libc].contains(&&String::new()) {
            Some("C library")
        } else if self.processor != other.processor {
            Some("processor")
        } else {
            None
        }
    }
}

impl fmt::Display for Host {
    /// The canonical form, which is part of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, libc, processor } = self;
        write!(f, "{kernel}\n{libc}\n{processor}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_same_twice() {
        let host = Host::read();
        assert_eq!(host, Host::read());
        assert_eq!(host.difference(&Host::read()), None);
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
        assert!(host.kernel.starts_with(release.trim()), "{}", host.kernel);
        let version = host.libc.strip_prefix("glibc ").expect("the C library's name");
        assert!(version.contains('.'), "{version}");
        assert_eq!(host.to_string().lines().count(), 3);
    }

    #[test]
    fn is_the_same_on_every_processor() {
        let host = Host::read();
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(Host::read)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), host);
        }
    }

    #[test]
    fn names_what_differs() {
        let host = Host::read();
        let other = |change: fn(&mut Host)| {
            let mut other = host.clone();
            change(&mut other);
            host.difference(&other)
        };
        assert_eq!(other(|host| host.kernel.push('x')), Some("kernel"));
        assert_eq!(other(|host| host.libc.push('x')), Some("C library"));
        assert_eq!(other(|host| host.processor.push('x')), Some("processor"));
        assert_eq!(other(|host| host.libc.clear()), None, "it is not known");
    }
}
