//! What help and man pages say below the options: examples, what a command leaves alone, and
//! what its exit status means. What an option is for stands with the option.

pub(super) const PYIMG: &str = "\
Examples:
  pyimg build \"import numpy, pandas\" --name data
  pyrun -c 'import pandas; print(pandas.__version__)'
  pyimg ls
  pyimg doctor

Environment:
  PYIMG_DIR     the store (default: $XDG_CACHE_HOME/pyimg, else ~/.cache/pyimg)
  PYIMG_PYTHON  the interpreter, where none is named
  PYIMG_CRIU    the criu binary
  NO_COLOR      no colours

Exit status: 0 done, 1 the request failed, 2 wrong usage or this machine cannot do it.";

pub(super) const BUILD: &str = "\
Examples:
  pyimg build \"import numpy, pandas\"           called python311-numpy-pandas
  pyimg build \"import numpy, pandas\" --name data
  pyimg build -m black -m http.server          what `python -m` would import
  pyimg build --script report.py               what the script imports; it is not run
  pyimg build \"import re\" --python python3.12 -- -X utf8
  pyimg build --from data \"import rich\"       what data holds, and rich

Nothing is done if the image is there already and its modules are unchanged. What the
code prints is shown; if it raises an exception, nothing is stored.";

pub(super) const RM: &str = "\
Examples:
  pyimg rm data
  pyimg rm python311-numpy python311-pandas

If one of the images does not exist, none is removed. Programs that were started from an
image go on.";

pub(super) const VERIFY: &str = "\
Examples:
  pyimg verify
  pyimg verify --read-data
  pyimg verify --repair

It changes nothing and keeps nobody waiting. A repair deletes nothing: what is damaged goes
into the directory `quarantine` of the store, with the reason beside it, and so do images
that need it; all others stay and work.

Exit status: 0 if nothing is wrong, or no more after a repair; 1 if something is.";

pub(super) const PIN: &str = "\
A pinned image is left alone by `pyimg gc` and when a build makes room, whatever the limits.
`pyimg rm` removes it all the same.";

pub(super) const GC: &str = "\
Removed are, in this order: stale images, which no run can use because a module or the
interpreter has changed; images that were not used for long; then those that were used the
longest time ago, until the rest fits. Images built on another machine or kernel count as
stale once they have not been used for a week. Pinned images stay. Then packs that no image
uses go, packs of which most is dead are written anew, and images that are not used are
compressed; the first run that uses one again decompresses it. Programs that run go on.

Examples:
  pyimg gc --dry-run
  pyimg gc --max-size 2GB --unused-for 14d
  pyimg gc --max-size 0                        removes all that is not pinned

Configuration, in $XDG_CONFIG_HOME/pyimg/config.toml, else ~/.config/pyimg/config.toml:
  max-size = \"10GB\"      or \"unlimited\"; variable PYIMG_MAX_SIZE
  unused-for = \"30d\"     or \"never\"; variable PYIMG_UNUSED_FOR
  cold-after = \"7d\"      or \"never\"; variable PYIMG_COLD_AFTER
  auto-gc = true         a build over max-size makes room; variable PYIMG_AUTO_GC
These are the defaults. Variables are stronger than the file, options stronger than both;
PYIMG_CONFIG names another file.";

pub(super) const WHY: &str = "\
Nothing is run. It shows the interpreter and by what it was found, what the program imports,
and each image of that interpreter: how long the program's imports take that it holds, how
much longer it takes to begin from it than in bare Python, and the first thing that does not
fit. Options of `pyimg` itself come before the arguments, or before `--`.

Examples:
  pyimg why -m black
  pyimg why --image data script.py
  pyimg why --json -c 'import numpy'
  pyimg why \"$(command -v http)\"

Exit status: 0 if there is an answer, 2 if pyrun's own options are used wrongly.";

pub(super) const STATS: &str = "\
A hit is a program that pyrun started from an image, a miss one that it ran with plain
Python, with the reason. For hits it says which engine brought the image back, and why that
was not `direct`, unless `criu` was asked for. Saved is how long what the program imports took when its image was
built, less the time that the run took to begin. Runs are counted as long as there is a store;
those of which nothing could be written are not.";

pub(super) const DOCTOR: &str = "\
It looks at CRIU, the privilege that CRIU needs, the kernel, a place on a tmpfs, whether pyrun
can bring back images itself, the store and the Pythons of this machine, and changes nothing.
CRIU is needed to build images, and to use those that pyrun cannot bring back itself.

Exit status: 0 if images can be built and used, 2 if not. Warnings do not count.";

pub(super) const COMPLETIONS: &str = "\
Examples:
  pyimg completions bash > ~/.local/share/bash-completion/completions/pyimg
  pyimg completions zsh > ~/.zfunc/_pyimg
  pyimg completions fish > ~/.config/fish/completions/pyimg.fish";
