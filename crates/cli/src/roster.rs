//! Devices in a table: comma-separated values, UTF-8, the columns named by the first line.
//!
//! ```text
//! serial,type,group,name
//! CAM-0001,cam-a,lobby;ground floor,Front door
//! ```
//! `serial` has to be there; `group` may name several, with `;` between them. `kusabi provision` writes the same table with
//! four more columns, which say what is public about each device's first key: `handle,suite,keys,binding`. They come back as an
//! [`Entry`]. A fault is named with its line and column, and then nothing of the table is used.

use std::{collections::BTreeMap, path::Path};

use kusabi_api::admin::Text;
use kusabi_core::{
    device::SERIAL_LEN_MAX,
    id::{Binding, Handle, parse_hex},
    release::Label,
    suite::{PublicKeys, Purpose, Suite},
    tx::Entry,
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    keyfile::hex,
};

/// Most devices of one table; more are several tables.
pub(crate) const DEVICES_MAX: usize = 1_000_000;

/// Longest table: a thousand bytes a line.
const LIMIT: u64 = 1_000 * DEVICES_MAX as u64;

/// Names of the columns, in the order in which they are written.
const COLUMNS: [&str; 8] = [
    "serial", "type", "group", "name", "handle", "suite", "keys", "binding",
];

/// A device of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Where it stands; 0 for one that was not read.
    pub(crate) line: u64,
    pub(crate) serial: Text,
    pub(crate) device_type: Option<Text>,
    pub(crate) groups: Vec<Text>,
    pub(crate) name: Option<Text>,
    /// Its first key, where it has one.
    pub(crate) entry: Option<Entry>,
}

impl Wanted {
    /// Whether a person said the same of both.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        (&self.serial, &self.device_type, &self.groups, &self.name)
            == (
                &other.serial,
                &other.device_type,
                &other.groups,
                &other.name,
            )
    }

    /// The line for a device with its key.
    pub(crate) fn to_line(&self) -> String {
        let optional = |text: &Option<Text>| text.as_ref().map_or("", Text::as_str).to_owned();
        let groups: Vec<_> = self.groups.iter().map(Text::as_str).collect();
        let mut cells = vec![
            self.serial.to_string(),
            optional(&self.device_type),
            groups.join(";"),
            optional(&self.name),
        ];
        if let Some(entry) = &self.entry {
            cells.push(entry.handle().to_string());
            cells.push(u8::from(entry.keys().suite()).to_string());
            cells.push(hex(entry.keys().as_bytes()));
            cells.push(entry.binding().to_string());
        }
        let mut line = cells
            .iter()
            .map(|cell| quoted(cell))
            .collect::<Vec<_>>()
            .join(",");
        line.push('\n');
        line
    }
}

/// The first line of a table with keys.
pub(crate) fn heading() -> String {
    format!("{}\n", COLUMNS.join(","))
}

/// Reads a table.
pub(crate) fn read(path: &Path) -> Result<Vec<Wanted>> {
    let bytes = files::read(path, LIMIT)?;
    parse(&bytes).map_err(|wrong| wrong.failure(path))
}

/// Where a table is wrong, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    line: u64,
    /// Number from 1, and name.
    column: Option<(usize, String)>,
    why: String,
}

impl Wrong {
    fn line(line: u64, why: impl Into<String>) -> Self {
        Self {
            line,
            column: None,
            why: why.into(),
        }
    }

    fn failure(&self, path: &Path) -> Failure {
        let column = match &self.column {
            Some((number, name)) => format!(", column {number} ({name})"),
            None => String::new(),
        };
        Failure::new(
            Exit::File,
            format!(
                "{}, line {}{column}: {}",
                path.display(),
                self.line,
                self.why
            ),
        )
        .advise("mend the table and run the same command again: nothing of it was used")
    }
}

/// Reads the bytes of a table.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Wanted>, Wrong> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|why| {
        let before = bytes.get(..why.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        Wrong::line(line, "this is not UTF-8: save the table as “CSV UTF-8”")
    })?;
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let heading = reader.headers().map_err(|why| broken(&why))?.clone();
    let columns = Columns::named(&heading)?;
    let mut rows: Vec<Wanted> = Vec::new();
    let mut serials: BTreeMap<String, u64> = BTreeMap::new();
    let mut place = Place { at: 0, line: 1 };
    for record in reader.records() {
        let record = record.map_err(|why| broken(&why))?;
        let line = place.of(&record, text.as_bytes());
        if record.len() != heading.len() {
            return Err(Wrong::line(
                line,
                format!(
                    "{} values, and the first line names {} columns; a value with a comma in it stands in \"quotes\"",
                    record.len(),
                    heading.len()
                ),
            ));
        }
        let row = columns.row(&record, line)?;
        if let Some(first) = serials.insert(row.serial.to_string(), line) {
            return Err(columns.wrong(
                line,
                "serial",
                format!("{} stands on line {first} already", row.serial),
            ));
        }
        if rows.len() == DEVICES_MAX {
            return Err(Wrong::line(
                line,
                format!("a table has at most {DEVICES_MAX} devices"),
            ));
        }
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Wrong::line(2, "there is no device in the table"));
    }
    Ok(rows)
}

/// Where records stand. The reader's own line numbers are those of where it stood before it skipped line ends and empty lines.
struct Place {
    at: usize,
    line: u64,
}

impl Place {
    /// The line of the next record.
    fn of(&mut self, record: &csv::StringRecord, text: &[u8]) -> u64 {
        let start = record.position().map_or(0, csv::Position::byte);
        let mut start = usize::try_from(start).unwrap_or(usize::MAX);
        while matches!(text.get(start), Some(b'\r' | b'\n')) {
            start += 1;
        }
        let passed = text.get(self.at..start).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.at = start;
        self.line
    }
}

/// A quote that is never closed and the like.
fn broken(why: &csv::Error) -> Wrong {
    let line = why.position().map_or(1, csv::Position::line);
    Wrong::line(line, why.to_string())
}

/// Which column stands where.
struct Columns {
    /// For each of [`COLUMNS`], its place in the table.
    places: [Option<usize>; COLUMNS.len()],
}

impl Columns {
    fn named(heading: &csv::StringRecord) -> Result<Self, Wrong> {
        let mut places = [None; COLUMNS.len()];
        for (place, name) in heading.iter().enumerate() {
            let wrong = |why: String| Wrong {
                line: 1,
                column: Some((place + 1, name.to_owned())),
                why,
            };
            let Some(known) = COLUMNS.iter().position(|column| *column == name) else {
                return Err(wrong(format!(
                    "the first line names the columns, with commas between them: {}",
                    COLUMNS[..4].join(",")
                )));
            };
            if places[known].replace(place).is_some() {
                return Err(wrong(String::from("this column stands twice")));
            }
        }
        if places[0].is_none() {
            return Err(Wrong::line(
                1,
                "no column is named serial; the first line names the columns: serial,type,group,name",
            ));
        }
        let key = &places[4..];
        if key.iter().any(Option::is_some) && key.contains(&None) {
            return Err(Wrong::line(
                1,
                "handle, suite, keys and binding belong together, and one of them is missing",
            ));
        }
        Ok(Self { places })
    }

    fn place(&self, name: &str) -> Option<usize> {
        let known = COLUMNS.iter().position(|column| *column == name)?;
        self.places[known]
    }

    fn wrong(&self, line: u64, name: &str, why: impl Into<String>) -> Wrong {
        Wrong {
            line,
            column: self.place(name).map(|place| (place + 1, name.to_owned())),
            why: why.into(),
        }
    }

    /// What stands in a column; nothing where it is empty.
    fn cell<'r>(&self, record: &'r csv::StringRecord, name: &str) -> Option<&'r str> {
        let cell = record.get(self.place(name)?)?;
        (!cell.is_empty()).then_some(cell)
    }

    fn row(&self, record: &csv::StringRecord, line: u64) -> Result<Wanted, Wrong> {
        let text = |name: &str, value: &str| {
            Text::new(value).map_err(|why| self.wrong(line, name, why.to_string()))
        };
        let cell = |name: &str| {
            self.cell(record, name)
                .map(|value| text(name, value))
                .transpose()
        };
        let serial = self
            .cell(record, "serial")
            .ok_or_else(|| self.wrong(line, "serial", "the device has no serial"))?;
        check_serial(serial).map_err(|why| self.wrong(line, "serial", why))?;
        let device_type = cell("type")?;
        if let Some(device_type) = &device_type {
            check_type(device_type.as_str()).map_err(|why| self.wrong(line, "type", why))?;
        }
        let mut groups = self
            .cell(record, "group")
            .unwrap_or_default()
            .split(';')
            .map(str::trim)
            .filter(|group| !group.is_empty())
            .map(|group| text("group", group))
            .collect::<Result<Vec<_>, _>>()?;
        groups.sort();
        groups.dedup();
        let entry = match self.cell(record, "handle") {
            None => None,
            Some(_) => Some(self.entry(record, line)?),
        };
        Ok(Wanted {
            line,
            serial: text("serial", serial)?,
            device_type,
            groups,
            name: cell("name")?,
            entry,
        })
    }

    fn entry(&self, record: &csv::StringRecord, line: u64) -> Result<Entry, Wrong> {
        let cell = |name: &'static str| self.cell(record, name).unwrap_or_default();
        let wrong =
            |name: &str, why: &dyn std::fmt::Display| self.wrong(line, name, why.to_string());
        let handle: Handle = cell("handle")
            .parse()
            .map_err(|why| wrong("handle", &why))?;
        let suite = cell("suite")
            .parse::<u8>()
            .ok()
            .and_then(|number| Suite::try_from(number).ok())
            .ok_or_else(|| wrong("suite", &"a suite is 1 or 2"))?;
        let keys = parse_hex(cell("keys")).map_err(|why| wrong("keys", &why))?;
        let keys = PublicKeys::decode(suite, &keys).map_err(|why| wrong("keys", &why))?;
        let binding: Binding = cell("binding")
            .parse()
            .map_err(|why| wrong("binding", &why))?;
        Entry::new(handle, Purpose::Pre, keys, binding, None).map_err(|why| wrong("handle", &why))
    }
}

/// A serial becomes the name of a file, and stands on the device.
pub(crate) fn check_serial(serial: &str) -> Result<(), String> {
    Text::new(serial).map_err(|why| why.to_string())?;
    if serial.len() > SERIAL_LEN_MAX {
        return Err(format!("a serial has at most {SERIAL_LEN_MAX} bytes"));
    }
    if serial.contains('/') || serial.starts_with('.') {
        return Err(String::from(
            "a serial names the device's file, so it holds no / and does not begin with a full stop",
        ));
    }
    Ok(())
}

/// A type that no release could name would leave its devices without updates.
pub(crate) fn check_type(device_type: &str) -> Result<(), String> {
    match Label::new(device_type) {
        Ok(_) => Ok(()),
        Err(_) => Err(String::from(
            "a type has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first, so that releases can name it",
        )),
    }
}

/// A value with quotes around it, where it needs them (RFC 4180).
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(table: &str) -> String {
        parse(table.as_bytes())
            .unwrap_err()
            .failure(Path::new("t.csv"))
            .to_string()
    }

    #[test]
    fn a_table_in_any_order_of_columns() {
        let rows = parse(
            "\u{feff}type,serial,name,group\r\ncam-a,C1,\"Front, left\",\"b; a;a\"\r\n\r\n,C2,,\r\n".as_bytes(),
        )
        .unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].serial.as_str(), "C1");
        assert_eq!(rows[0].name.as_ref().unwrap().as_str(), "Front, left");
        let groups: Vec<_> = rows[0].groups.iter().map(Text::as_str).collect();
        assert_eq!(groups, ["a", "b"]);
        assert_eq!(rows[0].line, 2);
        assert_eq!((rows[1].line, &rows[1].device_type), (4, &None));
    }

    #[test]
    fn faults_are_named_with_their_place() {
        for (table, said) in [
            ("", "t.csv, line 1: no column is named serial"),
            (
                "serial;type\nC1;a\n",
                "t.csv, line 1, column 1 (serial;type): the first line names the columns",
            ),
            ("serial,type\n", "t.csv, line 2: there is no device"),
            (
                "serial,type,type\nC1,a,b\n",
                "t.csv, line 1, column 3 (type): this column stands twice",
            ),
            ("serial,type\nC1\n", "t.csv, line 2: 1 values"),
            ("serial,type\nC1,a,b\n", "t.csv, line 2: 3 values"),
            (
                "serial,type\nC1,a\nC1,a\n",
                "t.csv, line 3, column 1 (serial): C1 stands on line 2 already",
            ),
            (
                "type,serial\na,../x\n",
                "t.csv, line 2, column 2 (serial): a serial names",
            ),
            (
                "serial,type\n,a\n",
                "t.csv, line 2, column 1 (serial): the device has no serial",
            ),
            (
                "serial,type\nC1,cam a\n",
                "t.csv, line 2, column 2 (type): a type has",
            ),
            (
                "serial,group\nC1,a\u{1b}b\n",
                "t.csv, line 2, column 2 (group): a name has no control",
            ),
            (
                "serial,handle\nC1,00\n",
                "t.csv, line 1: handle, suite, keys and binding belong together",
            ),
        ] {
            let why = wrong(table);
            assert!(why.starts_with(said), "{why}");
        }
        let latin = parse(b"serial,name\nC1,a\nC2,T\xfcr\n").unwrap_err();
        assert_eq!(latin.line, 3);
        let long = format!("serial\n{}\n", "x".repeat(SERIAL_LEN_MAX + 1));
        assert!(wrong(&long).contains("column 1 (serial): a serial has at most 64"));
    }
}
