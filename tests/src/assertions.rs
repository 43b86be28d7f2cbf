//! Assertions about what the server answered. Each prints the server's whole error when it fails.

use postgres::Error;
use postgres::error::DbError;

/// The error as a person wants to read it in a failed test.
pub fn describe(error: &Error) -> String {
    let Some(e) = error.as_db_error() else { return format!("no answer of the server: {error}") };
    let mut text = format!("{} {}: {}", e.severity(), e.code().code(), e.message());
    for (name, part) in [("DETAIL", e.detail()), ("HINT", e.hint()), ("CONTEXT", e.where_())] {
        if let Some(part) = part {
            text.push_str(&format!("\n{name}: {part}"));
        }
    }
    text
}

/// The value, or a panic with the server's words.
#[track_caller]
pub fn ok<T>(result: Result<T, Error>) -> T {
    result.unwrap_or_else(|e| panic!("the statement should succeed, but: {}", describe(&e)))
}

/// The server's error of a statement that must fail.
#[track_caller]
pub fn db_error<T>(result: Result<T, Error>) -> DbError {
    match result {
        Ok(_) => panic!("the statement should fail, but it succeeded"),
        Err(e) => e.as_db_error().unwrap_or_else(|| panic!("{}", describe(&e))).clone(),
    }
}

/// The SQLSTATE, empty when the error is not the server's.
pub fn sqlstate(error: &Error) -> &str {
    error.code().map_or("", |code| code.code())
}

#[track_caller]
pub fn assert_sqlstate<T>(result: Result<T, Error>, expected: &str) -> DbError {
    assert_sqlstate_in(result, &[expected])
}

/// For statements that more than one rule forbids: whichever comes first.
#[track_caller]
pub fn assert_sqlstate_in<T>(result: Result<T, Error>, expected: &[&str]) -> DbError {
    match result {
        Ok(_) => panic!("the statement should fail with {}, but it succeeded", expected.join(" or ")),
        Err(e) if expected.contains(&sqlstate(&e)) => e.as_db_error().expect("it has a SQLSTATE").clone(),
        Err(e) => panic!("expected SQLSTATE {}, got: {}", expected.join(" or "), describe(&e)),
    }
}
