//! Why an artifact is refused, said to the person who brings it.

use std::{fmt, io};

use kusabi_core::id::Digest;

/// How the tool that makes artifacts is told to make this one again.
const AGAIN: &str = "make it again with mender-artifact write";

/// A place in an artifact: a member of its tar and, where it is a tar again, a file in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    member: String,
    file: Option<String>,
}

impl Place {
    /// The artifact itself, between its members.
    pub(crate) fn top() -> Self {
        Self {
            member: String::new(),
            file: None,
        }
    }

    pub(crate) fn member(name: &str) -> Self {
        Self {
            member: shown(name.as_bytes()),
            file: None,
        }
    }

    pub(crate) fn file(&self, name: &str) -> Self {
        Self {
            member: self.member.clone(),
            file: Some(shown(name.as_bytes())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.member, &self.file) {
            ("", _) => f.write_str("the artifact"),
            (member, None) => f.write_str(member),
            (member, Some(file)) => write!(f, "{file} in {member}"),
        }
    }
}

/// What a stranger wrote, as it can be printed: escaped, and cut where it is long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 80;
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text
        .chars()
        .take(CHARACTERS_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// Why an artifact is refused, or could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The artifact's bytes could not be had.
    #[error("the artifact could not be read")]
    Read(#[source] io::Error),
    /// Whoever takes the payload files could not.
    #[error("{at} could not be passed on")]
    Sink {
        /// The file.
        at: Place,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The artifact ends too early.
    #[error(
        "the artifact ends after {bytes} bytes, within {at}: it did not arrive whole; send it again"
    )]
    Cut {
        /// How many bytes there are.
        bytes: u64,
        /// What is not whole.
        at: Place,
    },
    /// The artifact has more bytes than are taken.
    #[error("the artifact has more than the {bytes_max} bytes that are taken here")]
    Artifact {
        /// How many are.
        bytes_max: u64,
    },
    /// Not a tar of the form that the tools write.
    #[error("{at}: {fault}; {AGAIN}")]
    Tar {
        /// Where.
        at: Place,
        /// What is wrong.
        fault: TarFault,
    },
    /// A compressed stream is broken.
    #[error("{at} cannot be decompressed: {why}")]
    Compressed {
        /// The member.
        at: Place,
        /// What the decoder says.
        why: String,
    },
    /// A compressed stream asks for more memory than is given.
    #[error(
        "{at} needs more memory to be decompressed than is given for it; make it again with a compression of level 9 at most"
    )]
    Window {
        /// The member.
        at: Place,
    },
    /// Bytes behind the end of something.
    #[error("{at} has bytes behind its end; {AGAIN}")]
    Trailing {
        /// What.
        at: Place,
    },
    /// Something that is not at its place: unknown, out of order, or there a second time.
    #[error("{found} stands where {expected} has to stand; {AGAIN}")]
    Member {
        /// What is there.
        found: Place,
        /// What should be there.
        expected: String,
    },
    /// A member is missing at the end of a tar.
    #[error("{at} ends where {expected} has to stand; {AGAIN}")]
    Missing {
        /// The tar.
        at: Place,
        /// What should be there.
        expected: String,
    },
    /// The format is another one.
    #[error(
        "the artifact has format version {version}, and only version 3 is taken; make it again with mender-artifact write --version 3 (2.0 and newer)"
    )]
    Version {
        /// Which.
        version: u64,
    },
    /// The first member does not say that this is an artifact.
    #[error("this is no Mender artifact: its member version does not say so")]
    NotMender,
    /// A section that nobody signs.
    #[error(
        "the artifact has the section {member}, which no signature covers; make it again without --augment-… options"
    )]
    Augmented {
        /// The member.
        member: String,
    },
    /// The manifest is not of its form.
    #[error("line {line} of the manifest {fault}")]
    Manifest {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        fault: ManifestFault,
    },
    /// The manifest does not name something.
    #[error("{at} does not stand in the manifest, so no signature covers it; {AGAIN}")]
    Unlisted {
        /// What.
        at: Place,
    },
    /// The manifest names a file that is not there, or is there twice.
    #[error("the manifest names {name}, which the artifact does not have; {AGAIN}")]
    Absent {
        /// The file.
        name: String,
    },
    /// Bytes with another digest than the manifest says.
    #[error(
        "{at} has the SHA-256 {found}, and the manifest says {listed}: it was changed or damaged; send the artifact as it was made"
    )]
    Checksum {
        /// What.
        at: Place,
        /// What the manifest says.
        listed: Digest,
        /// What it is.
        found: Digest,
    },
    /// The signature is not Base64.
    #[error(
        "manifest.sig is not the standard Base64 of a signature, without line ends; sign it again: mender-artifact sign"
    )]
    Signature,
    /// A name that payload files cannot have.
    #[error("{at}: names of payload files have letters, digits, and the characters . , _ - only")]
    FileName {
        /// The file.
        at: Place,
    },
    /// A name that state scripts cannot have.
    #[error(
        "{at}: a state script has a name like ArtifactInstall_Enter_05_what, with one of the states ArtifactInstall, ArtifactReboot, ArtifactCommit, ArtifactRollback, ArtifactRollbackReboot, ArtifactFailure"
    )]
    Script {
        /// The script.
        at: Place,
    },
    /// More of something than is taken.
    #[error("{at}: more than the {max} {what} that are taken here")]
    TooMany {
        /// Where.
        at: Place,
        /// What.
        what: &'static str,
        /// How many are taken.
        max: u64,
    },
    /// Not the JSON that has to stand there.
    #[error("{at} is not the JSON that it has to be: {why}")]
    Json {
        /// The file.
        at: Place,
        /// What is wrong, and where.
        why: String,
    },
    /// What the header says cannot be so.
    #[error("{at}: {fault}")]
    Info {
        /// The file.
        at: Place,
        /// What is wrong.
        fault: InfoFault,
    },
}

/// What is wrong with a tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarFault {
    /// The bytes end before the tar does.
    #[error("the tar ends too early")]
    Cut,
    /// A header's sum is wrong, or this is no header.
    #[error("not a tar, or damaged: the sum of a header is wrong")]
    Sum,
    /// Another kind of tar.
    #[error("a tar, but not of the kind ustar")]
    Ustar,
    /// A number that is not written in octal digits.
    #[error("a number in a header of the tar is not octal")]
    Number,
    /// A name that is empty, holds a zero byte, or is not UTF-8.
    #[error("a name in the tar is empty or not UTF-8")]
    Name,
    /// Something else than a file.
    #[error("the tar holds something that is not a plain file: a link, a directory, a device")]
    Kind,
    /// An extended header that the tools do not write.
    #[error("the tar has an extended header that mender-artifact does not write")]
    Extended,
    /// Bytes between entries that are not zero, or one block of zeros instead of two.
    #[error("the tar has bytes where zeros have to be")]
    Padding,
}

/// What is wrong with a line of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFault {
    /// Not of the form digest, two spaces, name, line end.
    #[error("is not a SHA-256 in lower-case hexadecimal digits, two spaces and a name")]
    Form,
    /// A name that cannot be in an artifact.
    #[error("names something that cannot be in an artifact")]
    Name,
    /// A name that stood in an earlier line.
    #[error("names what an earlier line names")]
    Twice,
}

/// What is wrong with what the header says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InfoFault {
    /// No payload at all.
    #[error("it names no payload")]
    NoPayload,
    /// No device type.
    #[error("it names no device type that it is for: mender-artifact write -t TYPE")]
    NoDeviceType,
    /// A text that is empty, too long, or holds control characters.
    #[error("{0} is empty, too long, or holds control characters")]
    Text(&'static str),
    /// A type that cannot be an update module's name.
    #[error("{0} cannot be the name of an update module")]
    Type(String),
    /// The payload's own type differs.
    #[error("the payload has another type here than in header-info")]
    OtherType,
    /// A text that stands twice.
    #[error("{0} stands there twice")]
    Twice(String),
    /// More than are taken.
    #[error("more than {0} {1}")]
    TooMany(usize, &'static str),
}
