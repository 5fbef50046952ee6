//! Who makes files, and by what: a call that follows links or waits at a FIFO must not make a record.

use crate::Breach;
use crate::sources::{Source, cfg_test};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Every call in a program of ours that makes or empties whatever has a file's name. Records go
/// through `rrun_sys::record`; what a person or the kernel has named is an exception with its reason.
pub fn check(source: &Source) -> Vec<Breach> {
    let mut walk = Walk { source, function: String::new(), found: Vec::new() };
    // The harness is no program of ours, and the fence holds the calls that are to be used.
    if !source.test && !source.fenced && !source.path.starts_with("tests/") {
        walk.visit_file(&source.file);
    }
    walk.found
}

struct Walk<'a> {
    source: &'a Source,
    function: String,
    found: Vec<Breach>,
}

impl Walk<'_> {
    fn breach(&mut self, span: proc_macro2::Span, call: &str) {
        let place = format!("{}:{}", self.source.path, self.function);
        let line = span.start().line;
        let text = format!(
            "{}:{line}: {call} makes what it is told: rrun_sys::record makes regular files",
            self.source.path
        );
        self.found.push(Breach { rule: "write", place, text });
    }

    fn inside(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.function, name.to_string());
        visit(self);
        self.function = outer;
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !cfg_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !cfg_test(&item.attrs) {
            self.inside(&item.sig.ident, |walk| visit::visit_item_fn(walk, item));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.inside(&item.sig.ident, |walk| visit::visit_impl_item_fn(walk, item));
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let words: Vec<String> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let call = match &words[..] {
            [.., module, call] => format!("{module}::{call}"),
            _ => return,
        };
        // `create_new` is O_EXCL, which takes nothing that is there.
        if ["fs::write", "fs::copy", "File::create"].contains(&call.as_str()) {
            self.breach(path.span(), &call);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let is_true = |argument: &syn::Expr| match argument {
            syn::Expr::Lit(literal) => matches!(&literal.lit, syn::Lit::Bool(flag) if flag.value),
            _ => false,
        };
        if call.method == "create" && call.args.first().is_some_and(is_true) {
            self.breach(call.method.span(), "create(true)");
        }
        visit::visit_expr_method_call(self, call);
    }
}
