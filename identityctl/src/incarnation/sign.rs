//! `identityctl incarnation show`, `sign` and `party`: what a party does by itself, where its key is and no network.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anchor_worker::config;
use anchor_worker::incarnation::party;
use anchor_worker::trouble::{Kind, Trouble};
use identity_core::incarnation::{Declaration, Parties, Role};
use identity_core::note::{MAX_NOTE_BYTES, Note};

use super::{tell, trouble};
use crate::cli;
use crate::report::Report;
use crate::verify::file;

pub fn show(arguments: &cli::Show) -> Report {
    let mut report = Report::new("incarnation show");
    match read(&arguments.file, &arguments.parties, &mut report) {
        Ok((note, parties)) => signatures(&note, &parties, &mut report),
        Err(found) => trouble(&mut report, "declaration", &found),
    }
    report
}

pub fn run(arguments: &cli::Sign) -> Report {
    let mut report = Report::new("incarnation sign");
    match sign(arguments, &mut report) {
        Ok(role) => report.good("signed", &format!("by the {}", role.word())),
        Err(found) => trouble(&mut report, "signed", &found),
    }
    report
}

/// Prints the line itself: it goes into a file.
pub fn party(arguments: &cli::Party) -> ExitCode {
    let role = Role::from(arguments.role).word();
    let name = arguments.name.as_deref().unwrap_or(role);
    match party::public_key(&arguments.public_key, name) {
        Ok(key) => match writeln!(io::stdout(), "{role} {key}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        },
        Err(found) => {
            eprintln!("{found}");
            ExitCode::from(2)
        }
    }
}

/// Reads a declaration and the parties, and says in words what it says.
fn read(file: &Path, parties: &Path, report: &mut Report) -> Result<(String, Parties), Trouble> {
    let parties = config::parties(parties)?;
    let note = file::read(file, MAX_NOTE_BYTES as u64).map_err(|error| {
        let text = format!("{} cannot be read: {error}", file.display());
        Trouble::new(Kind::Configuration, text)
    })?;
    party::text(&note)?;
    if let Some(declaration) = Declaration::claimed(&note) {
        tell(&declaration, report);
        if !declaration.loses() {
            let text =
                "what it keeps is not less than what was anchored: there is nothing to declare";
            return Err(Trouble::new(Kind::Untrue, text));
        }
    }
    Ok((note, parties))
}

fn signatures(note: &str, parties: &Parties, report: &mut Report) {
    let opened = Note::parse(note.as_bytes());
    for role in Role::BOTH {
        let key = core::slice::from_ref(parties.key(role));
        let signed = opened.as_ref().map(|note| note.signers(key));
        let word = role.word();
        match signed {
            Some(Ok(_)) => report.good("signatures", &format!("the {word} has signed it")),
            Some(Err(identity_core::note::NoteError::BadSignature)) => {
                let text = format!("what is said to be the {word}'s signature is not");
                report.bad("signatures", &text);
            }
            _ => report.unchecked("signatures", &format!("the {word} has not signed it")),
        }
    }
}

fn sign(arguments: &cli::Sign, report: &mut Report) -> Result<Role, Trouble> {
    let (note, parties) = read(&arguments.file, &arguments.parties, report)?;
    let (signed, role) = match (&arguments.key, &arguments.signature, arguments.party) {
        (Some(file), _, _) => party::sign(&note, &party::secret_key(file)?, &parties)?,
        (None, Some(file), Some(role)) => {
            let signature = fs::read(file).map_err(|error| {
                let text = format!("{} cannot be read: {error}", file.display());
                Trouble::new(Kind::Configuration, text)
            })?;
            let role = role.into();
            (party::add(&note, &signature, role, &parties)?, role)
        }
        _ => {
            return Err(Trouble::new(
                Kind::Configuration,
                "neither a key nor a signature was given",
            ));
        }
    };
    replace(&arguments.file, &signed).map_err(|error| {
        let text = format!("{} cannot be written: {error}", arguments.file.display());
        Trouble::new(Kind::Configuration, text)
    })?;
    Ok(role)
}

/// Whole or not at all.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut part = OsString::from(file);
    part.push(".part");
    fs::write(&part, text)?;
    fs::rename(&part, file)
}
