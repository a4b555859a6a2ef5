//! Cleaning up, with real images: what is of no use goes, what is pinned or runs goes on.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use common::{Lab, Output, Python, ground, pyimg, run};
use serde_json::Value;

/// A store, and a directory with modules of the test's own.
struct Place {
    lab: Lab,
    modules: PathBuf,
}

impl Place {
    fn new() -> Self {
        let python: Python = common::a_python().clone();
        let lab = Lab { python, store: ground().no_file("store"), turn: Default::default() };
        let place = Self { lab, modules: ground().dir("modules") };
        for name in ["one", "two", "three"] {
            place.write(name, "VALUE = 1\n");
        }
        place
    }

    fn write(&self, module: &str, text: &str) {
        fs::write(self.modules.join(format!("{module}.py")), text).unwrap();
    }

    fn pyimg(&self, arguments: &[&str]) -> Command {
        let mut command = pyimg(&self.lab.store);
        command.args(arguments).env("PYTHONPATH", &self.modules);
        command
    }

    fn say(&self, arguments: &[&str]) -> Output {
        run(&mut self.pyimg(arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.say(&[arguments, &["--json"]].concat()).success();
        serde_json::from_str(&said).unwrap()
    }

    /// Builds an image of a module, called as the module is.
    fn build(&self, module: &str) -> Output {
        run(&mut self.build_command(module, &format!("import {module}")))
    }

    fn build_command(&self, name: &str, code: &str) -> Command {
        let mut command = self.pyimg(&["build", code, "--name", name, "--python"]);
        command.arg(&self.lab.python.path);
        command
    }

    fn images(&self) -> Vec<String> {
        names(&self.json(&["ls"])["images"])
    }

    /// What a program prints that must run from this image.
    #[track_caller]
    fn hit(&self, image: &str, code: &str) -> String {
        let mut command = self.lab.pyrun();
        command.args(["--image", image, "-c", code]).env("PYTHONPATH", &self.modules);
        let said = run(&mut command);
        assert_eq!(said.stderr_text(), "", "it was a miss");
        said.success()
    }

    /// As if the image had last been used so long ago.
    fn age(&self, image: &str, age: Duration) {
        let directory = self.json(&["show", image])["directory"].as_str().unwrap().to_owned();
        let uses = fs::File::options().append(true).open(Path::new(&directory).join("uses"));
        let mut uses = uses.unwrap();
        uses.write_all(b".").unwrap();
        uses.set_modified(SystemTime::now() - age).unwrap();
    }
}

fn names(images: &Value) -> Vec<String> {
    let name = |image: &Value| image["name"].as_str().unwrap().to_owned();
    images.as_array().unwrap().iter().map(name).collect()
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn what_is_stale_goes_and_what_is_pinned_stays() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    for name in ["one", "two", "three"] {
        place.build(name).success();
    }
    assert_eq!(place.say(&["pin", "two"]).stderr_text(), "pinned two\n");
    let nothing = place.say(&["gc"]).stderr_text();
    assert!(nothing.starts_with("0 B freed, "), "{nothing}");
    for module in ["one", "two"] {
        place.write(module, "VALUE = 22\n");
    }

    // The plan that is shown is the plan that is carried out.
    let mut dry = place.json(&["gc", "--dry-run"]);
    assert_eq!(place.images(), ["one", "two", "three"], "nothing was done");
    let mut done = place.json(&["gc"]);
    assert_eq!(place.images(), ["two", "three"]);
    assert_eq!(names(&done["removed"]), ["one"]);
    assert_eq!(done["removed"][0]["reason"], "stale");
    let changed = format!("stale: {} has changed", place.modules.join("one.py").display());
    assert_eq!(done["removed"][0]["detail"], changed);
    let after = place.json(&["gc", "--dry-run"]);
    assert_eq!(names(&after["removed"]), [""; 0]);
    let bytes = |answer: &Value, field: &str| answer[field].as_u64().unwrap();
    assert_eq!(
        bytes(&done, "bytes_before") - bytes(&done, "freed_bytes"),
        bytes(&after, "bytes_before")
    );
    for (answer, is_dry) in [(&mut dry, true), (&mut done, false)] {
        let answer = answer.as_object_mut().unwrap();
        assert_eq!(answer.remove("dry_run").unwrap(), is_dry);
    }
    assert_eq!(dry, done);

    // Unpinned it goes too.
    assert_eq!(place.json(&["unpin", "two"])["pinned"], false);
    let said = place.say(&["gc", "--dry-run"]);
    assert!(said.stdout_text().contains("two   stale: "), "{}", said.stdout_text());
    assert!(said.stderr_text().starts_with("would free "), "{}", said.stderr_text());
    let said = place.say(&["gc"]).stderr_text();
    assert!(said.starts_with("removed two: stale: "), "{said}");
    assert_eq!(place.hit("three", "import three; print(three.VALUE)"), "1\n");
}

#[test]
fn an_image_of_an_interpreter_that_is_gone_or_another_goes() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let link = ground().no_file("python3");
    std::os::unix::fs::symlink(&place.lab.python.path, &link).unwrap();
    let build = |name: &str| {
        let mut command = place.pyimg(&["build", "import one", "--name", name, "--python"]);
        run(command.arg(&link)).success();
    };
    build("linked");
    assert_eq!(names(&place.json(&["gc", "-n"])["removed"]), [""; 0]);
    fs::remove_file(&link).unwrap();
    let gone = place.json(&["gc", "-n"]);
    assert_eq!(gone["removed"][0]["detail"], format!("stale: {} is missing", link.display()));
    std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
    let other = place.json(&["gc"]);
    assert_eq!(other["removed"][0]["detail"], format!("stale: {} has changed", link.display()));
    assert_eq!(place.images(), [""; 0]);
}

#[test]
fn the_unused_go_and_then_the_least_recently_used() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    for (name, days) in [("one", 3), ("two", 40), ("three", 9)] {
        place.build(name).success();
        place.age(name, DAY * days);
    }
    let gc = |options: &[&str]| place.json(&[&["gc", "--dry-run"], options].concat());
    assert_eq!(names(&gc(&[])["removed"]), ["two"], "30 days are the default");
    assert_eq!(names(&gc(&["--unused-for", "5d"])["removed"]), ["two", "three"]);
    assert_eq!(names(&gc(&["--unused-for", "never"])["removed"]), [""; 0]);
    let all = gc(&["--unused-for", "never", "--max-size", "0"]);
    assert_eq!(names(&all["removed"]), ["two", "three", "one"]);
    assert_eq!(all["removed"][2]["detail"], "over the limit, unused for 3 days");
    assert_eq!(all["limits"]["max_size_bytes"], 0);
    assert_eq!(all["limits"]["unused_for_s"], Value::Null);
    assert_eq!(all["freed_bytes"], all["bytes_before"]);

    // The file, the environment, the options: each is stronger than the one before.
    let file = ground().no_file("config.toml");
    fs::write(&file, "max-size = 0\nunused-for = \"never\"\n").unwrap();
    let limits = |variables: &[(&str, &str)], options: &[&str]| {
        let mut command = place.pyimg(&["gc", "--dry-run", "--json"]);
        command.args(options).env("PYIMG_CONFIG", &file).envs(variables.iter().copied());
        let said = run(&mut command).success();
        serde_json::from_str::<Value>(&said).unwrap()["limits"]["max_size_bytes"].clone()
    };
    assert_eq!(limits(&[], &[]), 0);
    assert_eq!(limits(&[("PYIMG_MAX_SIZE", "2GiB")], &[]), 2_u64 << 30);
    assert_eq!(limits(&[("PYIMG_MAX_SIZE", "1")], &["--max-size", "unlimited"]), Value::Null);

    place.say(&["gc", "--max-size", "0"]).success();
    let store = &place.lab.store;
    for inner in ["images", "packs", "tmp"] {
        assert_eq!(fs::read_dir(store.join(inner)).unwrap().count(), 0, "{inner}");
    }
}

#[test]
fn wrong_settings_are_named() {
    let place = Place::new();
    let error = |arguments: &[&str]| {
        let said = place.say(arguments);
        assert_eq!(said.code(), 2);
        said.stderr_text()
    };
    let said = error(&["gc", "--max-size", "ten"]);
    let expected = "error: invalid value 'ten' for '--max-size <SIZE>': it is a size such as \
        500MB, 10GB or 2GiB, or \"unlimited\"\n";
    assert!(said.starts_with(expected), "{said}");
    let said = error(&["gc", "--unused-for", "1 month"]);
    assert!(said.contains("it is a duration such as 30d, 12h or 90min, or \"never\"\n"), "{said}");
    let file = ground().no_file("config.toml");
    fs::write(&file, "auto-gc = true\nmax-sise = \"1GB\"\n").unwrap();
    let said = run(place.pyimg(&["gc"]).env("PYIMG_CONFIG", &file));
    assert_eq!(said.code(), 2);
    let expected = format!(
        "error: the configuration {}, line 2: unknown field `max-sise`, expected one of \
         `max-size`, `unused-for`, `cold-after`, `auto-gc`, `build`, `build-priority`\n",
        file.display()
    );
    assert_eq!(said.stderr_text(), expected);
    let said = place.say(&["gc"]);
    assert!(said.stderr_text().starts_with("there is no store yet\n"), "{}", said.stderr_text());
    assert!(!place.lab.store.exists(), "looking makes no store");
    let said = place.say(&["pin", "data"]);
    assert!(said.stderr_text().starts_with("error: there is no image \"data\"\n"));
    assert_eq!(said.code(), 1);
}

#[test]
fn a_program_goes_on_when_its_image_goes() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    place.build_command("one", "import one, json, http.client").status().unwrap();
    let program = "\
import sys, one
print('started', flush=True)
sys.stdin.readline()
import json, http.client
print(json.dumps([one.VALUE, http.client.OK.name]), flush=True)
";
    let mut child = place
        .lab
        .pyrun()
        .args(["--image", "one", "-c", program])
        .env("PYTHONPATH", &place.modules)
        .env("PYIMG_LOG", "hit")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    let done = place.json(&["gc", "--max-size", "0"]);
    assert_eq!((names(&done["removed"]), &done["postponed"]), (vec!["one".into()], &false.into()));
    assert_eq!(fs::read_dir(place.lab.store.join("packs")).unwrap().count(), 0);
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "[1, \"OK\"]\n");
    assert!(common::end_of(&mut child).unwrap().success());
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(log.contains("hit"), "{log}");
}

/// What the packs of a store take on disk, in bytes.
fn packs_on_disk(store: &Path) -> u64 {
    let packs = fs::read_dir(store.join("packs")).unwrap().flatten();
    packs.map(|pack| pack.metadata().unwrap().blocks() * 512).sum()
}

/// A place in which an image uses less than half of a pack.
fn mostly_dead() -> Place {
    let place = Place::new();
    for (name, code) in [("old", "import one, json, http.client"), ("new", "import two, json")] {
        run(&mut place.build_command(name, code)).success();
    }
    place.say(&["rm", "old"]).success();
    place
}

#[test]
fn images_of_a_pack_that_was_written_anew_run() {
    if !common::criu() {
        return;
    }
    let place = mostly_dead();
    let program = "import two, json; print(json.dumps(two.VALUE))";
    assert_eq!(place.hit("new", program), "1\n");
    let before = packs_on_disk(&place.lab.store);
    let dry = place.json(&["gc", "--dry-run"]);
    let done = place.json(&["gc"]);
    assert_eq!(dry["repacked"], done["repacked"]);
    let repacked = &done["repacked"][0];
    let pages = |field: &str| repacked[field].as_u64().unwrap();
    assert!(pages("used_pages") * 2 < pages("stored_pages"), "{repacked}");
    let freed = before - packs_on_disk(&place.lab.store);
    assert_eq!(done["freed_bytes"].as_u64().unwrap(), freed);
    // The file system writes down where the holes are.
    let least = 4096 * (pages("stored_pages") - pages("used_pages") - 2);
    assert!(freed >= least, "{freed} {repacked}");
    assert_eq!(place.hit("new", program), "1\n");
    // Stored again, everything is there again.
    run(&mut place.build_command("old", "import one, json, http.client")).success();
    let program = "import one, http.client; print(one.VALUE, http.client.OK)";
    place.hit("old", program);
    assert_eq!(place.json(&["gc", "--dry-run"])["repacked"], serde_json::json!([]));
}

#[test]
fn killed_anywhere_nothing_is_lost() {
    if !common::criu() {
        return;
    }
    let points = pyimg::store::FAULT_POINTS.iter().filter(|point| point.starts_with("gc-"));
    let place = mostly_dead();
    for point in points {
        place.build("three").success();
        place.write("three", &format!("VALUE = {point:?}\n"));
        let killed = run(place.pyimg(&["gc"]).env("PYIMG_FAULT", point));
        assert_eq!(killed.code(), -9, "{point}: {}", killed.stderr_text());
        assert_eq!(place.hit("new", "import two; print(two.VALUE)"), "1\n", "{point}");
        // Once the pack is written anew there is nothing more to kill it at.
        if *point != "gc-pack-replaced" {
            assert!(place.images().contains(&"new".to_owned()));
        }
    }
    place.say(&["gc"]).success();
    assert_eq!(place.images(), ["new"]);
    assert_eq!(fs::read_dir(place.lab.store.join("tmp")).unwrap().count(), 0);
    assert_eq!(place.hit("new", "import two; print(two.VALUE)"), "1\n");
    assert_eq!(place.json(&["gc", "--dry-run"])["repacked"], serde_json::json!([]));
}

#[test]
fn a_build_makes_room() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    let build = |module: &str, variables: &[(&str, &str)]| {
        let mut command = place.build_command(module, &format!("import {module}"));
        let said = run(command.envs(variables.iter().copied()));
        said.success();
        said.stderr_text()
    };
    build("one", &[]);
    let small = ("PYIMG_MAX_SIZE", "1MB");
    let said = build("two", &[small, ("PYIMG_AUTO_GC", "false")]);
    assert_eq!((said.lines().count(), place.images().len()), (1, 2), "{said}");
    // The image that was built stays, although it is over the limit itself.
    let said = build("three", &[small]);
    assert!(
        said.contains("\nthe store was above its limit of 1.0 MB: removed one, two ("),
        "{said}"
    );
    let warning = "MB, more than its limit of 1.0 MB; what is left is pinned or was built just now";
    assert!(said.contains(warning), "{said}");
    assert_eq!(place.images(), ["three"]);
    assert_eq!(place.hit("three", "import three; print(three.VALUE)"), "1\n");
    // Where nothing can be done, the next build does not look, as long as the store hardly
    // grows and the limit is the same.
    place.say(&["pin", "three"]).success();
    let over =
        |limit: &str| format!("MB, more than its limit of {limit}.0 MB; what is left is pinned");
    let said = build("one", &[("PYIMG_MAX_SIZE", "10MB")]);
    assert!(said.contains(&over("10")), "{said}");
    let again = |limit: &str| {
        let mut command = place.build_command("one", "import one");
        let said = run(command.arg("--force").env("PYIMG_MAX_SIZE", limit));
        said.success();
        said.stderr_text()
    };
    let said = again("10MB");
    assert!(said.starts_with("built one: ") && said.lines().count() == 1, "{said}");
    let said = again("9MB");
    assert!(said.contains(&over("9")), "{said}");
    assert_eq!(place.images(), ["three", "one"]);
    // What is wrong with the settings is no reason for a build to fail.
    let said = build("two", &[("PYIMG_MAX_SIZE", "ten")]);
    let warning = "\nwarning: no room was made in the store: PYIMG_MAX_SIZE cannot be \"ten\"; ";
    assert!(said.contains(warning), "{said}");
}

#[test]
fn what_is_not_used_is_compressed_and_runs_again() {
    if !common::criu() {
        return;
    }
    let place = Place::new();
    place.build("one").success();
    assert_eq!(place.json(&["gc", "--dry-run"])["compressed"], serde_json::json!([]));
    place.age("one", DAY * 8);
    let before = packs_on_disk(&place.lab.store);
    let dry = place.json(&["gc", "--dry-run"]);
    let done = place.json(&["gc"]);
    assert_eq!(dry["compressed"], serde_json::json!(["one"]));
    assert_eq!(done["compressed"], dry["compressed"]);
    let freed = before - packs_on_disk(&place.lab.store);
    assert_eq!(done["freed_bytes"].as_u64().unwrap(), freed);
    assert!(freed > before / 2, "{freed} of {before}");
    assert_eq!(place.json(&["gc", "--dry-run"])["compressed"], serde_json::json!([]));
    assert_eq!(place.hit("one", "import one; print(one.VALUE)"), "1\n");
    // Where its blocks lie the file system may write into one more block, once it has chosen them.
    let again = packs_on_disk(&place.lab.store);
    assert!(again.abs_diff(before) <= 4096, "{again} {before}");
    // What is pinned stays as it is.
    place.age("one", DAY * 8);
    place.say(&["pin", "one"]).success();
    assert_eq!(place.json(&["gc"])["compressed"], serde_json::json!([]));
}
