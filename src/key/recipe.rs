//! What an image is to preload.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Stands in a name for a recipe that imports nothing.
const BARE: &str = "bare";

/// What to run or import before the process is parked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Recipe {
    /// Python code, as after `python -c`.
    Code {
        /// The code.
        code: String,
    },
    /// What `python -m MODULE` imports, for each of these, without running it.
    Module {
        /// Dotted names.
        modules: Vec<String>,
    },
    /// What a script imports, without running it.
    Script {
        /// Absolute path.
        script: PathBuf,
    },
    /// Another image's recipe, and what came after it was restored.
    Grown {
        /// That recipe.
        from: Box<Recipe>,
        /// The further one, which is not itself of this kind.
        more: Box<Recipe>,
    },
}

impl Recipe {
    /// The script, if it is one whose imports are preloaded.
    pub fn script(&self) -> Option<&Path> {
        match self {
            Self::Script { script } => Some(script),
            _ => None,
        }
    }

    /// The recipe as text: part of an image's key, and shown by `pyimg show`.
    pub fn text(&self) -> String {
        match self {
            Self::Code { code } => code.clone(),
            Self::Module { modules } => {
                modules.iter().map(|module| format!("-m {module}")).collect::<Vec<_>>().join(" ")
            }
            Self::Script { script } => format!("--script {}", script.display()),
            Self::Grown { from, more } => format!("{}; {}", from.text(), more.text()),
        }
    }

    /// The text that is part of an image's key: different for different recipes, which the
    /// text for people is not (`import a; import b` may be one recipe or two).
    pub fn identity(&self) -> String {
        match self {
            Self::Grown { from, more } => {
                let from = from.identity();
                format!("grown\0{}\0{from}{}", from.len(), more.identity())
            }
            other => other.text(),
        }
    }

    /// What a build runs of it.
    pub fn last(&self) -> &Self {
        match self {
            Self::Grown { more, .. } => more,
            other => other,
        }
    }

    /// The recipe of the image that it was grown from, if it was.
    pub fn parent(&self) -> Option<&Self> {
        match self {
            Self::Grown { from, .. } => Some(from),
            _ => None,
        }
    }

    /// The name of an image that was given none, such as `python311-typing-re-os-numpy`.
    ///
    /// `version` is the interpreter's, such as `3.11.7`.
    ///
    /// ```
    /// # use pyimg::key::recipe::Recipe;
    /// let recipe = Recipe::Code { code: "import typing, re, os, numpy".into() };
    /// assert_eq!(recipe.default_name("3.11.7"), "python311-typing-re-os-numpy");
    /// ```
    pub fn default_name(&self, version: &str) -> String {
        let mut parts = version.split('.');
        let (major, minor) = (parts.next().unwrap_or("3"), parts.next().unwrap_or(""));
        let mut name = format!("python{major}{minor}");
        for word in self.words() {
            if name.len() + word.len() > 60 {
                name.push_str("-etc");
                break;
            }
            name.push('-');
            name.push_str(&word);
        }
        name
    }

    /// The words after the version: modules that are imported, else whatever names
    /// the recipe.
    fn words(&self) -> Vec<String> {
        let words: Vec<String> = match self {
            Self::Code { code } => imported(code),
            Self::Module { modules } => modules.clone(),
            Self::Script { script } => {
                vec![script.file_stem().unwrap_or_default().to_string_lossy().into_owned()]
            }
            Self::Grown { from, more } => {
                let mut words = from.words();
                for word in more.words() {
                    if !words.contains(&word) {
                        words.push(word);
                    }
                }
                if words.len() > 1 {
                    words.retain(|word| word != BARE);
                }
                words
            }
        };
        let mut words: Vec<String> = words.iter().map(|word| plain(word)).collect();
        words.retain(|word| !word.is_empty());
        if words.is_empty() { vec![BARE.into()] } else { words }
    }
}

/// The modules of the plain import statements at the start of lines; good enough for
/// a name.
fn imported(code: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for statement in code.split(['\n', ';']) {
        let statement = statement.trim();
        let found: Vec<&str> = if let Some(rest) = statement.strip_prefix("import ") {
            rest.split(',').filter_map(|part| part.split_whitespace().next()).collect()
        } else if let Some(rest) = statement.strip_prefix("from ") {
            rest.split_whitespace().take(1).collect()
        } else {
            Vec::new()
        };
        for name in found {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Only what can be typed in any shell without quotes.
fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str) -> Recipe {
        Recipe::Code { code: code.into() }
    }

    #[test]
    fn other_names() {
        assert_eq!(code("pass").default_name("3.13.0"), "python313-bare");
        assert_eq!(
            code("import numpy as np; from os.path import join\nimport numpy")
                .default_name("3.9.18"),
            "python39-numpy-os.path"
        );
        let modules = Recipe::Module { modules: vec!["black".into(), "http.server".into()] };
        assert_eq!(modules.default_name("3.12.1"), "python312-black-http.server");
        let script = Recipe::Script { script: "/srv/my tool.py".into() };
        assert_eq!(script.default_name("3.12.1"), "python312-mytool");
        let many = (0..40).map(|n| format!("import module{n}\n")).collect::<String>();
        let name = code(&many).default_name("3.12.1");
        assert!(name.ends_with("-etc") && name.len() < 70, "{name}");
    }

    #[test]
    fn a_grown_recipe_names_all_and_is_not_the_same_as_one() {
        let grown = |from: &Recipe, more: &str| Recipe::Grown {
            from: Box::new(from.clone()),
            more: Box::new(code(more)),
        };
        let two = grown(&code("import numpy"), "import pandas");
        assert_eq!(two.text(), "import numpy; import pandas");
        assert_eq!(two.default_name("3.11.7"), "python311-numpy-pandas");
        assert_eq!(grown(&code("pass"), "import re").default_name("3.11.7"), "python311-re");
        assert_eq!(two.last(), &code("import pandas"));
        assert_eq!(two.parent(), Some(&code("import numpy")));
        let three = grown(&two, "import numpy, rich");
        assert_eq!(three.text(), "import numpy; import pandas; import numpy, rich");
        assert_eq!(three.default_name("3.11.7"), "python311-numpy-pandas-rich");

        assert_eq!(code("import re").identity(), "import re");
        let one = code("import numpy; import pandas");
        let other = grown(&grown(&code("import numpy"), "import pandas"), "import numpy, rich");
        assert_eq!((one.text(), three.identity()), (two.text(), other.identity()));
        assert_ne!(one.identity(), two.identity());

        let json = serde_json::to_string(&three).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), three);
    }

    #[test]
    fn the_text_says_what_was_asked() {
        assert_eq!(code("import re").text(), "import re");
        let modules = Recipe::Module { modules: vec!["black".into(), "http".into()] };
        assert_eq!(modules.text(), "-m black -m http");
    }
}
