//! Which modules a program imports, read from its source by a parser.
//!
//! The answer decides which image is taken, never whether one may be: a module too many or
//! too few costs time, not correctness. But it is asked for at every run whose program is
//! not known yet, so it has to be had in a fraction of a millisecond. Of the parsers for
//! Python, ruff's takes 20 us for a KiB, and 0.2 ms more in a process that has not used it
//! yet; tree-sitter takes 120 us for a KiB, libcst 500. It is spared what it need not
//! see: nothing behind the last mention of an import can import anything, which on average is
//! more than half of a file. What is parsed for one program is bounded by whoever asks.
//!
//! What is imported when a file runs is told from what is imported by functions when they
//! are called. Imports for type checkers alone (`if TYPE_CHECKING:`) are none. Calls of
//! `importlib.import_module` and `__import__` count if they give the name literally; names that
//! are put together while the program runs are not seen. The tests compare with Python's own
//! `ast` over the whole standard library.

mod end;
mod room;

use std::collections::BTreeSet;

use rustpython_ruff_python_ast as ast;
use rustpython_ruff_python_ast::visitor::{self, Visitor};
use rustpython_ruff_python_ast::{Expr, ExprCall, Mod, Stmt, StmtIf, StmtImport, StmtImportFrom};
use rustpython_ruff_python_parser::{Mode, ParseOptions, parse_unchecked};

/// The modules that a piece of source imports.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Imports {
    /// Those imported when it runs: by its own statements, in `try`, `if` and classes too.
    pub eager: Names,
    /// Those imported only if a function is called, and none of the others.
    pub lazy: Names,
}

/// Names of modules.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Names {
    /// Full names, as in `import a.b`. `from a.b import c` gives `a.b` and `a.b.c`, for
    /// `c` may be a module too.
    pub absolute: BTreeSet<String>,
    /// Those relative to the package: the number of dots, and the name behind them.
    pub relative: BTreeSet<(usize, String)>,
}

impl Imports {
    /// Reads a source text. Broken source gives what can be made out, and so does text that
    /// is not UTF-8.
    ///
    /// `budget` is how many bytes may be parsed, of which what was parsed is taken off; a
    /// text that would need more is read only so far.
    pub fn of(source: &[u8], budget: &mut usize) -> Self {
        let Some(source) = source.get(..end::of_imports(source, *budget)) else {
            return Self::default();
        };
        if source.is_empty() {
            return Self::default();
        }
        *budget -= source.len();
        let text = String::from_utf8_lossy(source);
        let has_calls = end::CALLS.iter().any(|name| memchr::memmem::find(source, name).is_some());
        let read = || {
            let mut reader = Reader { imports: Self::default(), in_function: false, has_calls };
            let parsed = parse_unchecked(&text, ParseOptions::from(Mode::Module));
            if let Mod::Module(module) = parsed.syntax() {
                reader.visit_body(&module.body);
            }
            reader.imports
        };
        let mut imports = room::with_room_for(source, read).unwrap_or_default();
        imports.lazy.remove(&imports.eager);
        imports
    }
}

impl Names {
    /// The first part of each full name: `a` of `import a.b`.
    pub fn top_level(&self) -> BTreeSet<String> {
        let first = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
        self.absolute.iter().map(first).collect()
    }

    fn insert(&mut self, dots: usize, name: &str) {
        if dots > 0 {
            self.relative.insert((dots, name.to_owned()));
        } else if !name.is_empty() {
            self.absolute.insert(name.to_owned());
        }
    }

    fn remove(&mut self, others: &Self) {
        self.absolute.retain(|name| !others.absolute.contains(name));
        self.relative.retain(|name| !others.relative.contains(name));
    }
}

/// Walks a tree and notes what is imported.
struct Reader {
    imports: Imports,
    in_function: bool,
    /// Whether there may be a call that imports; else no expression is looked at.
    has_calls: bool,
}

impl Reader {
    fn names(&mut self, is_lazy: bool) -> &mut Names {
        let imports = &mut self.imports;
        if self.in_function || is_lazy { &mut imports.lazy } else { &mut imports.eager }
    }

    /// Walks what runs only when a function is called.
    fn later(&mut self, walk: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.in_function, true);
        walk(self);
        self.in_function = before;
    }

    /// `import a.b as c, d`
    fn read_import(&mut self, import: &StmtImport) {
        let names = self.names(import.is_lazy);
        for alias in &import.names {
            names.insert(0, complete(&alias.name));
        }
    }

    /// `from ..a.b import c as d, e`
    fn read_from(&mut self, import: &StmtImportFrom) {
        let names = self.names(import.is_lazy);
        let dots = import.level as usize;
        let module = import.module.as_ref().map_or("", |module| module.as_str());
        if module.is_empty() && dots == 0 {
            return;
        }
        names.insert(dots, complete(module));
        if complete(module) != module {
            return;
        }
        for alias in import.names.iter().filter(|alias| is_name(&alias.name)) {
            let dot = if module.is_empty() { "" } else { "." };
            names.insert(dots, &format!("{module}{dot}{}", alias.name));
        }
    }

    /// `import_module("a.b")`, if its argument is a plain string.
    fn read_call(&mut self, call: &ExprCall) {
        let function = match &*call.func {
            Expr::Name(name) => name.id.as_str(),
            Expr::Attribute(attribute) => attribute.attr.as_str(),
            _ => return,
        };
        if !end::CALLS.contains(&function.as_bytes()) {
            return;
        }
        let Some(Expr::StringLiteral(text)) = call.arguments.args.first() else { return };
        let text = text.value.to_str();
        let name = text.trim_start_matches('.');
        if name.split('.').all(is_name) {
            self.names(false).insert(text.len() - name.len(), name);
        }
    }

    /// An `if` whose condition type checkers and Python see differently: only what Python runs.
    fn read_if(&mut self, statement: &StmtIf) {
        let first = (Some(&*statement.test), &statement.body);
        let others = statement.elif_else_clauses.iter();
        let others = others.map(|clause| (clause.test.as_ref(), &clause.body));
        for (test, body) in std::iter::once(first).chain(others) {
            let truth = test.map_or(Some(true), truth);
            if let Some(test) = test {
                self.visit_expr(test);
            }
            if truth != Some(false) {
                self.visit_body(body);
            }
            if truth == Some(true) {
                return;
            }
        }
    }
}

impl<'a> Visitor<'a> for Reader {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Import(import) => self.read_import(import),
            Stmt::ImportFrom(import) => self.read_from(import),
            Stmt::If(statement) => self.read_if(statement),
            Stmt::FunctionDef(function) => {
                for decorator in &function.decorator_list {
                    self.visit_decorator(decorator);
                }
                self.visit_parameters(&function.parameters);
                self.later(|reader| reader.visit_body(&function.body));
            }
            _ => visitor::walk_stmt(self, statement),
        }
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        if !self.has_calls {
            return;
        }
        match expression {
            Expr::Lambda(lambda) => self.later(|reader| reader.visit_expr(&lambda.body)),
            Expr::Call(call) => {
                self.read_call(call);
                visitor::walk_expr(self, expression);
            }
            _ => visitor::walk_expr(self, expression),
        }
    }
}

/// What a condition is whenever Python runs it, if that can be said: it takes
/// `TYPE_CHECKING` for false.
fn truth(test: &Expr) -> Option<bool> {
    match test {
        Expr::Name(name) if name.id.as_str() == "TYPE_CHECKING" => Some(false),
        Expr::Attribute(name) if name.attr.as_str() == "TYPE_CHECKING" => Some(false),
        Expr::BooleanLiteral(literal) => Some(literal.value),
        Expr::UnaryOp(not) if not.op == ast::UnaryOp::Not => truth(&not.operand).map(|is| !is),
        Expr::BoolOp(operation) => {
            // One false part makes an `and` false, one true part an `or` true.
            let decisive = operation.op == ast::BoolOp::Or;
            let mut parts = operation.values.iter().map(truth);
            parts.any(|part| part == Some(decisive)).then_some(decisive)
        }
        _ => None,
    }
}

/// A dotted name up to where it is broken: `a` of `a..b` and of `a.`.
fn complete(name: &str) -> &str {
    let mut end = 0;
    for part in name.split('.') {
        if !is_name(part) {
            break;
        }
        end += part.len() + 1;
    }
    &name[..end.saturating_sub(1)]
}

/// Whether this can be the name of a module, roughly: what is broken is not looked for.
fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests;
