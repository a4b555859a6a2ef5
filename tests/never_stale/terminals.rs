//! Whether standard descriptors are terminals: modules ask that for the colours of what they
//! print, some of them while they are imported.

use crate::common;
use crate::world::World;

/// Runs a command with standard output and input on a terminal, and standard error where it is.
const ON_A_TERMINAL: &str = r#"
exec 3>&2
exec "$PYTHON" -c '
import os, pty, sys
inner = ["sh", "-c", "exec \"$@\" 2>&3 3>&-", "sh", *sys.argv[1:]]
status = pty.spawn(inner)
sys.exit(status >> 8)' "$@"
"#;

#[test]
fn terminals_that_were_asked_for() {
    if !common::criu() {
        return;
    }
    let ways = [
        "sys.stdout.isatty()",
        "sys.stdin.isatty()",
        "os.isatty(1)",
        "ctypes.CDLL(None).isatty(1) == 1",
        "asked()",
    ];
    let mut world = World::new();
    world.set("PYTHON", world.lab.python.path.clone());
    world.write("lib/other.py", "import sys\ndef asked(): return sys.stdout.isatty()\n");
    for way in ways {
        let text = format!("import ctypes, os, sys\nfrom other import asked\nANSWER = {way}\n");
        world.write("lib/m.py", text);
        world.imports("import m", "import sys; print(m.ANSWER, sys.stdout.isatty())");
        world.build();
        let pair = world.run();
        assert!(pair.is_hit() && pair.difference().is_none(), "{way}: {pair:?}");
        let pair = world.run_within(&["sh", "-c", ON_A_TERMINAL, "sh"]);
        assert_eq!(pair.difference(), None, "{way}");
        assert_eq!(pair.plain.stdout_text(), "True True\r\n", "{way}");
        assert!(pair.verdict.ends_with(" was no terminal"), "{way}: {}", pair.verdict);
    }
    // Who asks later is answered then.
    world.write("lib/m.py", "from other import asked\n");
    world.imports("import m", "print(m.asked())");
    world.build();
    for around in [&[][..], &["sh", "-c", ON_A_TERMINAL, "sh"]] {
        let pair = world.run_within(around);
        assert!(pair.is_hit() && pair.difference().is_none(), "{pair:?}");
    }
    world.finish();
}
