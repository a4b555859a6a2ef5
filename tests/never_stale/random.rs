//! Hundreds of changes in a row, as chance will have it.
//!
//! The program tries to import everything that could be in the tree, and tells what came of
//! it: values, places and errors. The image is made of the same. Changes add up until the
//! image is built again, which is now and then.

use std::fs;

use crate::common;
use crate::common::dice::{Dice, seed};
use crate::world::World;

/// How many changes; `PYIMG_STALE_STEPS` asks for another number.
const STEPS: usize = 240;
/// Directories on the path, in this order; the last one is there only at times.
const PATH: [&str; 4] = ["a", "b", "c", "d"];
/// What is imported.
const NAMES: [&str; 10] = ["m0", "m1", "m2", "m3", "p0", "p0.x", "p0.y", "p1", "p1.x", "p1.y"];

const DRIVER: &str = "
import importlib, os
FOUND = []
def look(name):
    try:
        module = importlib.import_module(name)
        file = module.__file__ and os.path.relpath(module.__file__, ROOT)
        return name, file, getattr(module, 'VALUE', None)
    except Exception as error:
        return name, type(error).__name__, str(error).replace(ROOT, '')
for name in NAMES:
    FOUND.append(look(name))
def report():
    for found in FOUND + [look(name) for name in ('late', 'p0.late')]:
        print(*found)
";

/// A tree and the chance that changes it.
struct Chaos {
    world: World,
    dice: Dice,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        world.search(&["fixed", "a", "b", "c"]);
        let path = ["fixed", "a", "b", "c", "d"].map(|name| world.path(name));
        world.set("PYTHONPATH", std::env::join_paths(path).unwrap());
        let root = world.root.display();
        let head = format!("ROOT = {:?}\nNAMES = {NAMES:?}\n", root.to_string());
        world.write("fixed/driver.py", head + DRIVER);
        world.imports("import driver", "driver.report()");
        let mut chaos = Self { world, dice: Dice(seed) };
        for name in ["l0", "l1"] {
            chaos.world.mkdir(name);
        }
        for name in ["a/m0.py", "b/m1.py", "c/m2.py", "a/p0/__init__.py", "a/p0/x.py", "b/p1/x.py"]
        {
            let text = chaos.module();
            chaos.world.write(name, text);
        }
        chaos
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.dice.roll(of.len())]
    }

    /// A module's text; most are of the same size.
    fn module(&mut self) -> String {
        let root = self.world.root.display().to_string();
        let token = self.dice.roll(90) + 10;
        let number = self.dice.roll(3);
        match self.dice.roll(8) {
            0 => format!("import os\nVALUE = {token}, os.environ.get('V{number}')\n"),
            1 => format!("import os\nVALUE = {token}, 'V{number}' in os.environ\n"),
            2 => format!(
                "try: VALUE = {token}, open('{root}/data{number}').read()\n\
                 except OSError: VALUE = {token}, 'none'\n"
            ),
            3 => format!(
                "import os\nVALUE = {token}, sorted(os.listdir('{root}/l{}'))\n",
                number % 2
            ),
            4 => format!(
                "try: import m{number}; VALUE = {token}, m{number}.VALUE\n\
                 except Exception as error: VALUE = {token}, type(error)\n"
            ),
            _ => format!("VALUE = {token}\n"),
        }
    }

    /// Writes a file in one of the ways in which files are written.
    fn edit(&mut self, name: &str, text: &str) -> String {
        let path = self.world.path(name);
        let way = self.dice.roll(6);
        let back = self.dice.roll(1000) as i64;
        let world = &self.world;
        if path.is_dir() {
            world.remove(name);
            world.write(name, text);
            return format!("{name} was a directory");
        }
        if !path.exists() {
            let _ = fs::remove_file(&path);
            let parent = std::path::Path::new(name).parent().unwrap().to_str().unwrap();
            world.mkdir(parent);
            match way {
                0 => world.unnoticed_in(parent, |world| world.write(name, text)),
                1 => {
                    let spare = format!("spare-{}", self.dice.next());
                    world.write(&spare, text);
                    world.link(world.path(spare).to_str().unwrap(), name);
                }
                _ => world.write(name, text),
            }
            return format!("{name} created ({way})");
        }
        match way {
            0 => world.write_unnoticed(name, text),
            1 => world.replace(name, text),
            2 => world.replace_unnoticed(name, text),
            3 => {
                world.write(name, text);
                world.shift(name, -back);
            }
            4 => world.shift(name, -back),
            _ => world.write(name, text),
        }
        format!("{name} written ({way})")
    }

    fn remove(&self, name: &str) -> String {
        if self.world.path(name).symlink_metadata().is_ok() {
            self.world.remove(name);
        }
        format!("{name} removed")
    }

    /// Takes away what would make each run a miss, whatever an image knew: what stands in
    /// front of something else, but for some of it.
    fn tidy(&mut self) {
        self.world.remove("cwd");
        self.world.mkdir("cwd");
        for name in ["m0", "m1", "m2", "m3", "p0", "p1"] {
            let files = PATH.map(|directory| {
                [name.to_owned(), format!("{name}.py")].map(|name| format!("{directory}/{name}"))
            });
            let there = files.concat().into_iter().filter(|file| self.world.path(file).exists());
            for file in there.skip(1).collect::<Vec<_>>() {
                if self.dice.roll(5) > 0 {
                    self.world.remove(&file);
                }
            }
        }
    }

    /// A change that concerns nobody.
    fn unrelated(&mut self) -> String {
        let directory = self.one(&PATH[..3]);
        let number = self.dice.roll(5);
        let world = &mut self.world;
        match self.dice.roll(7) {
            0 => {
                world.set("UNREAD", number.to_string());
                "an unread variable".into()
            }
            1 => {
                world.write(&format!("{directory}/other{number}.py"), "VALUE = 1\n");
                format!("{directory}/other{number}.py")
            }
            2 => {
                world.write(&format!("{directory}/other{number}/__init__.py"), "VALUE = 1\n");
                format!("{directory}/other{number}")
            }
            3 => {
                world.write(&format!("{directory}/__pycache__/other{number}.pyc"), "");
                format!("{directory}/__pycache__")
            }
            4 => {
                world.touch(directory, std::time::SystemTime::now());
                format!("{directory} touched")
            }
            5 => {
                world.write(&format!("data-unread{number}"), "x");
                "data that nobody reads".into()
            }
            _ => "nothing".into(),
        }
    }

    /// A change that concerns somebody, or may.
    fn related(&mut self) -> String {
        let directory = self.one(&PATH);
        let name = self.one(&NAMES);
        let parts: Vec<&str> = name.split('.').collect();
        let number = self.dice.roll(3);
        let file = match (parts[..].len(), self.dice.roll(3)) {
            (1, 0) if name.starts_with('p') => format!("{directory}/{name}/__init__.py"),
            (1, 0) => format!("{directory}/{name}/__init__.py"),
            _ => format!("{directory}/{}.py", parts.join("/")),
        };
        let text = self.module();
        match self.dice.roll(16) {
            0..=2 => {
                // One that is there, if possible.
                let there = PATH.map(|d| format!("{d}/{}.py", parts.join("/")));
                let there = there.into_iter().find(|file| self.world.path(file).exists());
                self.edit(&there.unwrap_or(file), &text)
            }
            3 | 4 => self.edit(&file, &text),
            5 => self.remove(&file),
            6 => self.remove(&format!("{directory}/{}", parts[0])),
            7 => {
                let text = format!("{:02}", self.dice.roll(100));
                self.edit(&format!("data{number}"), &text)
            }
            8 => self.remove(&format!("data{number}")),
            9 => {
                let file = format!("l{}/{}", number % 2, self.dice.roll(4));
                if self.world.path(&file).exists() {
                    self.remove(&file)
                } else {
                    self.edit(&file, "")
                }
            }
            10 => {
                let value = self.dice.roll(3).to_string();
                self.world.set(&format!("V{number}"), &value);
                format!("V{number}={value}")
            }
            11 => {
                self.world.unset(&format!("V{number}"));
                format!("V{number} unset")
            }
            12 => {
                let (one, other) = (self.one(&PATH[..3]), self.one(&PATH[..3]));
                self.world.rename(one, "moved");
                if one != other {
                    self.world.rename(other, one);
                }
                self.world.rename("moved", other);
                format!("{one} and {other} exchanged")
            }
            13 => match self.dice.roll(3) {
                0 => self.remove(&format!("{directory}/__pycache__")),
                1 => self.remove(&format!("cwd/{name}.py")),
                _ => {
                    let there = self.world.path("late.py").exists();
                    if there { self.remove("cwd/late.py") } else { self.edit("c/late.py", &text) }
                }
            },
            14 => self.edit(&format!("cwd/{}.py", parts[0]), &text),
            _ => {
                self.world.mkdir(&format!("{directory}/{}", parts[0]));
                format!("{directory}/{} made", parts[0])
            }
        }
    }
}

#[test]
fn any_changes_in_a_row() {
    if !common::criu() {
        return;
    }
    let seed = seed();
    let mut chaos = Chaos::new(seed);
    let steps = std::env::var("PYIMG_STALE_STEPS");
    let steps = steps.map_or(STEPS, |steps| steps.parse().unwrap());
    let (mut hits, mut builds, mut changed) = (0, 1, 0);
    let mut history = vec!["built".to_owned()];
    chaos.world.build();
    let mut before = None;
    for step in 0..steps {
        let did = if chaos.dice.roll(2) == 0 { chaos.unrelated() } else { chaos.related() };
        history.push(did);
        let pair = chaos.world.run();
        if let Some(difference) = pair.difference() {
            let kept = ground_copy(&chaos.world);
            panic!(
                "seed {seed}, step {step}: stale: {difference}\nsince the image was built:\n{}{kept}",
                history.join("\n")
            );
        }
        hits += usize::from(pair.is_hit());
        changed += usize::from(before.is_some_and(|before| before != pair.plain));
        if !pair.is_hit() && chaos.dice.roll(2) == 0 {
            chaos.tidy();
            // A build must see what a run sees; and must not trip over it.
            let force = chaos.dice.roll(3) == 0;
            chaos.world.try_build(if force { &["--force"] } else { &[] }).success();
            builds += 1;
            history = vec!["built".to_owned()];
        }
        before = Some(pair.plain);
    }
    println!("{steps} changes, {changed} of them seen, {hits} hits, {builds} builds");
    chaos.world.finish();
    assert!(hits * 5 >= steps, "too few hits to prove anything: {hits} of {steps}");
    assert!(changed * 10 >= steps, "too few changes to prove anything: {changed} of {steps}");
}

/// The tree, listed, for a failure.
fn ground_copy(world: &World) -> String {
    let mut command = std::process::Command::new("find");
    command.args([".", "-type", "f", "-o", "-type", "l"]).current_dir(&world.root);
    format!("\nthe tree:\n{}", common::run(&mut command).stdout_text())
}
