//! Lengths, parameters, nesting, and the unsafe fence.

use crate::Breach;
use crate::sources::{Source, cfg_test};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 80;
const PARAMETERS: usize = 5;
/// Blocks inside each other, the function's body being the first.
const INDENT: usize = 5;

/// What one file does beyond the limits.
pub fn check(source: &Source) -> Vec<Breach> {
    let mut walk = Walk { source, found: Vec::new(), test_lines: 0 };
    if !source.test {
        walk.visit_file(&source.file);
    }
    let lines = source.lines - walk.test_lines;
    if lines > FILE_LINES {
        let text = format!("{}:1: {lines} lines, limit {FILE_LINES}", source.path);
        walk.found.push(Breach { rule: "file-lines", place: source.path.clone(), text });
    }
    walk.found
}

struct Walk<'a> {
    source: &'a Source,
    found: Vec<Breach>,
    /// Lines of `#[cfg(test)]` modules.
    test_lines: usize,
}

impl Walk<'_> {
    fn function(&mut self, signature: &syn::Signature, body: Option<&syn::Block>) {
        let line = signature.fn_token.span.start().line;
        let typed = |input: &&syn::FnArg| matches!(input, syn::FnArg::Typed(_));
        let parameters = signature.inputs.iter().filter(typed).count();
        let end = body.map_or(line, |body| body.span().end().line);
        let mut nesting = Nesting::default();
        body.into_iter().for_each(|body| nesting.visit_block(body));
        let measures = [
            ("function-lines", end - line + 1, FUNCTION_LINES, "lines"),
            ("parameters", parameters, PARAMETERS, "parameters"),
            ("indent", nesting.deepest, INDENT, "levels of blocks"),
        ];
        for (rule, count, limit, unit) in measures {
            if count > limit {
                let (path, name) = (&self.source.path, &signature.ident);
                let text = format!("{path}:{line}: {name}: {count} {unit}, limit {limit}");
                self.found.push(Breach { rule, place: format!("{path}:{name}"), text });
            }
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if cfg_test(&module.attrs) {
            if module.content.is_some() {
                let span = module.span();
                self.test_lines += span.end().line - span.start().line + 1;
            }
        } else {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !cfg_test(&item.attrs) {
            self.function(&item.sig, Some(&item.block));
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, Some(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }
}

#[derive(Default)]
struct Nesting {
    depth: usize,
    deepest: usize,
}

impl Nesting {
    fn inside(&mut self, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        visit(self);
        self.depth -= 1;
    }
}

impl<'ast> Visit<'ast> for Nesting {
    fn visit_block(&mut self, block: &'ast syn::Block) {
        // `{}` holds nothing that could be too deep.
        if !block.stmts.is_empty() {
            self.inside(|nesting| visit::visit_block(nesting, block));
        }
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        self.visit_expr(&expression.expr);
        self.inside(|nesting| expression.arms.iter().for_each(|arm| nesting.visit_arm(arm)));
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        self.visit_expr(&expression.cond);
        self.visit_block(&expression.then_branch);
        // `else if` stands where its `if` stands.
        if let Some((_, other)) = &expression.else_branch {
            self.visit_expr(other);
        }
    }

    /// An item in a body is measured by itself.
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

/// Every `unsafe` of a file outside the fence.
pub fn check_unsafe(source: &Source) -> Vec<Breach> {
    let mut found = Unsafe::default();
    found.visit_file(&source.file);
    let lines = if source.fenced { Vec::new() } else { found.lines };
    let breach = |line| Breach {
        rule: "unsafe",
        place: source.path.clone(),
        text: format!("{}:{line}: unsafe outside runtime/sys", source.path),
    };
    lines.into_iter().map(breach).collect()
}

#[derive(Default)]
struct Unsafe {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Unsafe {
    fn visit_token_stream(&mut self, tokens: &'ast proc_macro2::TokenStream) {
        for token in tokens.clone() {
            match token {
                proc_macro2::TokenTree::Ident(word) if word == "unsafe" => {
                    self.lines.push(word.span().start().line);
                }
                proc_macro2::TokenTree::Group(group) => self.visit_token_stream(&group.stream()),
                _ => {}
            }
        }
    }

    fn visit_expr_unsafe(&mut self, expression: &'ast syn::ExprUnsafe) {
        self.lines.push(expression.unsafe_token.span.start().line);
        visit::visit_expr_unsafe(self, expression);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.lines.extend(signature.unsafety.map(|token| token.span.start().line));
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.lines.extend(item.unsafety.map(|token| token.span.start().line));
        visit::visit_item_impl(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.lines.push(item.abi.extern_token.span.start().line);
    }
}
