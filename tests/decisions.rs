//! What a run has decided holds for the next one, and not a moment longer than what it was
//! made of.

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::{Lab, a_python, criu, ground, pyimg, run};
use serde_json::Value;

/// How a run went: `hit` or the code of the miss, whether it was decided before, and what the
/// program printed.
type Went = (String, bool, String);

struct Place {
    lab: Lab,
    directory: PathBuf,
}

impl Place {
    fn new(recipe: &str) -> Self {
        let directory = ground().dir("decisions");
        let lab = Lab::with(a_python(), &["--name", "first", recipe]);
        let place = Self { lab, directory };
        place.settle();
        place
    }

    /// Decisions are kept once the index has been as it is for longer than a tick.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(60));
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).unwrap();
    }

    fn build(&self, arguments: &[&str]) {
        self.lab.build(arguments).success();
        self.settle();
    }

    /// Builds, or builds again, the image of `program.py`.
    fn build_program(&self) {
        let mut command = pyimg(&self.lab.store);
        command.args(["build", "--script", "program.py", "--name", "m", "--force", "--python"]);
        run(command.arg(&self.lab.python.path).current_dir(&self.directory)).success();
        self.settle();
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Went {
        let mut command = self.lab.pyrun();
        // What is decided is for runs that have no replay.
        command.env("PYIMG_REPLAY", "off");
        command.env("PYIMG_LOG", "phases").current_dir(&self.directory).args(arguments);
        let output = run(&mut command);
        let said: Value = serde_json::from_str(output.stderr_text().trim()).unwrap();
        let is_mark = |name: &str| {
            said["marks"].as_array().unwrap().iter().any(|mark| mark[0].as_str() == Some(name))
        };
        let (decided, ranked) = (is_mark("decided"), is_mark("index"));
        assert!(decided || ranked || said["outcome"] == "no-image", "{said}");
        (said["outcome"].as_str().unwrap().to_owned(), decided && !ranked, output.stdout_text())
    }

    /// A run that decides, and one that has it decided.
    #[track_caller]
    fn settles(&self, arguments: &[&str], outcome: &str, printed: &str) {
        // What the program needed is known only after its first hit.
        let needed = self.run(arguments);
        assert_eq!((&*needed.0, &*needed.2), (outcome, printed));
        self.run(arguments);
        let again = self.run(arguments);
        assert_eq!(again, (outcome.into(), true, printed.into()));
    }

    /// Decides anew, at most once.
    #[track_caller]
    fn decides(&self, arguments: &[&str], outcome: &str, printed: &str) {
        let first = self.run(arguments);
        assert_eq!(first, (outcome.into(), false, printed.into()));
    }
}

#[test]
fn hits() {
    if !criu() {
        return;
    }
    let place = Place::new("import json");
    place.write("helper.py", "VALUE = 1\n");
    place.write("program.py", "import json, helper\nprint(helper.VALUE)\n");
    let arguments: [&[&str]; 3] =
        [&["program.py"], &["-c", "import json; print(1)"], &["-m", "program"]];
    for arguments in arguments {
        place.settles(arguments, "hit", "1\n");
    }
    // A better image is taken at once; and when it has gone, the other.
    place.build(&["import json, decimal, csv, argparse", "--name", "second"]);
    place.write("program.py", "import json, decimal, csv, argparse\nprint(2)\n");
    place.settles(&["program.py"], "hit", "2\n");
    place.decides(arguments[1], "hit", "1\n");
    run(pyimg(&place.lab.store).args(["rm", "second"])).success();
    place.settle();
    place.decides(&["program.py"], "hit", "2\n");
    run(pyimg(&place.lab.store).args(["rm", "first"])).success();
    let (outcome, decided, printed) = place.run(&["program.py"]);
    assert_eq!((&*outcome, decided, &*printed), ("no-image", false, "2\n"));
}

#[test]
fn an_image_that_becomes_stale_or_is_damaged() {
    if !criu() {
        return;
    }
    let place = Place::new("import json");
    place.write("m.py", "VALUE = 1\n");
    place.write(
        "program.py",
        "import sys; sys.path.insert(0, '.'); import json, m; print(m.VALUE)\n",
    );
    place.build_program();
    place.settles(&["program.py"], "hit", "1\n");
    place.write("m.py", "VALUE = 22\n");
    for _ in 0..3 {
        // From the other image, or by plain Python.
        assert_eq!(place.run(&["program.py"]).2, "22\n");
    }
    place.build_program();
    place.settles(&["program.py"], "hit", "22\n");
    // Its directory has gone, without a word in the index.
    for image in fs::read_dir(place.lab.store.join("images")).unwrap() {
        fs::remove_dir_all(image.unwrap().path()).unwrap();
    }
    assert_eq!(place.run(&["program.py"]).2, "22\n");
}

/// What has made an image stale is looked at, and nothing else, as long as it is as it was found.
#[test]
fn an_image_that_is_stale_still() {
    if !criu() {
        return;
    }
    let place = Place::new("import colorsys");
    place.write("m.py", "import json, os\nVALUE = 1\nMODE = os.environ.get('MODE')\n");
    place.write("program.py", "import m\nprint(m.VALUE, m.MODE)\n");
    place.build_program();
    place.settles(&["program.py"], "hit", "1 None\n");
    place.write("m.py", "import json, os\nVALUE = 22\nMODE = os.environ.get('MODE')\n");
    place.decides(&["program.py"], "file-changed", "22 None\n");
    for _ in 0..2 {
        let again = place.run(&["program.py"]);
        assert_eq!(again, ("file-changed".into(), true, "22 None\n".into()));
    }
    place.write("m.py", "import json, os\nVALUE = 333\nMODE = os.environ.get('MODE')\n");
    place.decides(&["program.py"], "file-changed", "333 None\n");
    place.build_program();
    place.settles(&["program.py"], "hit", "333 None\n");

    let in_mode = |mode: &str| {
        let mut command = place.lab.pyrun();
        command.env("PYIMG_LOG", "phases").env("MODE", mode).current_dir(&place.directory);
        let output = run(command.arg("program.py"));
        let ranked = output.stderr_text().contains("\"index\"");
        (ranked, output.stdout_text())
    };
    let (one, two) = (String::from("333 one\n"), String::from("333 two\n"));
    assert_eq!(in_mode("one"), (true, one.clone()));
    assert_eq!(in_mode("one"), (false, one));
    assert_eq!(in_mode("two"), (true, two.clone()));
    assert_eq!(in_mode("two"), (false, two));
    place.decides(&["program.py"], "hit", "333 None\n");
    place.settles(&["program.py"], "hit", "333 None\n");
}

#[test]
fn misses() {
    if !criu() {
        return;
    }
    let place = Place::new("import json");
    place.write("nothing.py", "import colorsys\nprint('plain')\n");
    place.settles(&["nothing.py"], "not-covered", "plain\n");
    // The program has changed.
    place.write("nothing.py", "import json\nprint('edited')\n");
    place.decides(&["nothing.py"], "hit", "edited\n");
    // What is beside it may change any time, so that is looked at each time.
    place.write("helper.py", "import colorsys\n");
    place.write("with_helper.py", "import helper\nprint('helped')\n");
    for _ in 0..3 {
        place.decides(&["with_helper.py"], "not-covered", "helped\n");
    }
    place.write("helper.py", "import json\n");
    place.decides(&["with_helper.py"], "hit", "helped\n");
    // A new image.
    place.write("other.py", "import colorsys\nprint('other')\n");
    place.settles(&["other.py"], "not-covered", "other\n");
    place.build(&["import colorsys", "--name", "second"]);
    place.decides(&["other.py"], "hit", "other\n");
    // Who names an image wants that one.
    let mut named = place.lab.pyrun();
    named.env("PYIMG_LOG", "hit").current_dir(&place.directory);
    let named = run(named.args(["--image", "first", "other.py"]));
    assert_eq!(named.stderr_text(), format!("pyrun: hit: first ({})\n", common::engine()));
}
