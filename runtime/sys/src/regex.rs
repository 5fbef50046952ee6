//! Extended regular expressions of POSIX, as grep -E and crun have them: regex(3).

use std::ffi::CString;
use std::mem::MaybeUninit;

/// A compiled expression.
pub struct Regex {
    /// Boxed: regex(3) does not say that one may be moved.
    compiled: Box<libc::regex_t>,
}

impl Regex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, in the C library's words.
    pub fn new(expression: &str) -> Result<Regex, String> {
        let text = CString::new(expression).map_err(|_| "it holds a NUL".to_owned())?;
        let mut place = Box::new(MaybeUninit::<libc::regex_t>::uninit());
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: room for the result, and a string that is alive.
        let code = unsafe { libc::regcomp(place.as_mut_ptr(), text.as_ptr(), flags) };
        if code != 0 {
            return Err(message(code, place.as_ptr()));
        }
        // SAFETY: regcomp has succeeded, and so filled it in.
        Ok(Regex { compiled: unsafe { place.assume_init() } })
    }

    /// It matches a part of the text.
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        let compiled: *const libc::regex_t = &raw const *self.compiled;
        // SAFETY: compiled, a string that is alive, and no room for matches, of which none is asked.
        unsafe { libc::regexec(compiled, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled, and freed nowhere else.
        unsafe { libc::regfree(&raw mut *self.compiled) }
    }
}

fn message(code: libc::c_int, failed: *const libc::regex_t) -> String {
    let mut words = [0_u8; 128];
    // SAFETY: regerror(3) takes the expression that regcomp has refused, and a buffer with its length.
    let length = unsafe { libc::regerror(code, failed, words.as_mut_ptr().cast(), words.len()) };
    let words = words.get(..length.saturating_sub(1)).unwrap_or(&words);
    String::from_utf8_lossy(words).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_those_of_grep() {
        let regex = Regex::new("^a(b|c)+-[0-9]{2}$").unwrap();
        assert!(regex.matches("abcb-42"));
        assert!(!regex.matches("abcb-421") && !regex.matches("xabcb-42") && !regex.matches("a\0"));
        assert!(Regex::new("b").unwrap().matches("abc"), "a part is enough");
        assert!(Regex::new("").unwrap().matches("anything"));
    }

    #[test]
    fn what_is_no_expression_is_refused_in_words() {
        let error = |text| Regex::new(text).err().unwrap();
        assert!(error("a(b").contains('('), "{}", error("a(b"));
        assert!(!error("[").is_empty());
        assert_eq!(error("a\0"), "it holds a NUL");
    }
}
