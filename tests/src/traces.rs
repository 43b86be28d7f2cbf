//! Looking for a text in files, also where it is hidden a little.

use std::path::Path;
use std::process::Command;

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let digit = |six: &[u8]| {
        let six: String = format!("{:0<6}", std::str::from_utf8(six).expect("they are digits"));
        char::from(DIGITS[usize::from_str_radix(&six, 2).expect("six bits")])
    };
    bits.as_bytes().chunks(6).map(digit).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text as it is, in hexadecimal, and in base64 wherever a longer text has it.
pub fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned(), hex(text.as_bytes())];
    for before in 0..3 {
        let padded = base64(&[&b"AA"[..before], text.as_bytes()].concat());
        // Without the digits that depend on what stands around it.
        forms.push(padded[(before * 8).div_ceil(6)..(before + text.len()) * 8 / 6].to_owned());
    }
    forms
}

/// Files beneath the places that hold one of the forms of the text, with what they hold.
pub fn holding(text: &str, places: &[&Path]) -> Vec<String> {
    forms(text)
        .into_iter()
        .flat_map(|form| {
            let mut grep = Command::new("grep");
            grep.env("LC_ALL", "C").args(["--recursive", "--text", "--ignore-case", "--only-matching"]);
            grep.arg("--regexp")
                .arg(format!("{}[-a-z0-9@.]\\{{0,30\\}}", form.replace('+', "[+]")))
                .arg("--")
                .args(places);
            let output = grep.output().expect("grep is installed");
            assert!(output.status.code() != Some(2), "{}", String::from_utf8_lossy(&output.stderr));
            let found = String::from_utf8_lossy(&output.stdout).into_owned();
            found.lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}
