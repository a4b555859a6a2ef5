//! Plain Python even if `pyrun` itself goes wrong.
//!
//! Before the program has started, much that others wrote is read: sources, archives, the store.
//! A mistake in a parser must not cost anyone their program. So until then a panic
//! becomes the interpreter, as a miss does, and without a word.

use std::ffi::OsString;
use std::path::PathBuf;

/// From now on a panic is plain Python: this interpreter with these arguments and changes of
/// the environment. `before` is called first, to undo what Python would inherit.
pub fn arm(
    executable: PathBuf,
    arguments: Vec<OsString>,
    changes: Vec<(OsString, OsString)>,
    before: impl Fn() + Send + Sync + 'static,
) {
    std::panic::set_hook(Box::new(move |_| {
        before();
        super::plain(&executable, &arguments, &changes);
    }));
}

/// From now on a panic is one: the program may have started.
pub fn disarm() {
    drop(std::panic::take_hook());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// Set in the process that is to panic.
    const CHILD: &str = "PYIMG_TEST_PANIC";

    #[test]
    fn a_panic_becomes_the_interpreter() {
        if std::env::var_os(CHILD).is_some() {
            let arguments = ["-c", "echo saved: $CHANGED"].map(Into::into).to_vec();
            let changes = vec![("CHANGED".into(), "yes".into())];
            super::arm("/bin/sh".into(), arguments, changes, || println!("before"));
            panic!("as if a parser had gone wrong");
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "launch::rescue::tests::a_panic_becomes_the_interpreter",
            ])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.ends_with("before\nsaved: yes\n"), "{text}");
        assert!(output.status.success() && output.stderr.is_empty());
    }
}
