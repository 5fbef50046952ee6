//! How a command ended, as the error stream tells it.

use serde_json::json;

/// Exit code, or the reason why there is none.
pub(super) type Exit = Result<i32, String>;

/// The v4 and v5 form: a Kubernetes `Status` object.
pub(super) fn json(exit: &Exit) -> Vec<u8> {
    let status = match exit {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        // The key of a cause's type is `reason`, whatever its Go name.
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": exited(*code),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(reason) => json!({
            "metadata": {},
            "status": "Failure",
            "reason": "InternalError",
            "code": 500,
            "message": format!("Internal error occurred: {reason}"),
        }),
    };
    status.to_string().into_bytes()
}

/// The form before v4: text, nothing on success.
pub(super) fn text(exit: &Exit) -> Vec<u8> {
    match exit {
        Ok(0) => Vec::new(),
        Ok(code) => exited(*code).into_bytes(),
        Err(reason) => reason.clone().into_bytes(),
    }
}

fn exited(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit code {code}")
}
