//! How records are written: the tables and templates of buildx.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::record::Record;
use crate::errors::CliError;
use crate::table;
use crate::template::{Listing, refused};
use crate::units::{ago, go_time, human_size};

const TABLE: &str = "table {{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}";
const PRETTY: &str = "ID:           {{.ID}}
{{- if .Parents}}
Parents:
{{- range .Parents}}
 - {{.}}
{{- end}}
{{- end}}
Created at:   {{.CreatedAt}}
Mutable:      {{.Mutable}}
Reclaimable:  {{.Reclaimable}}
Shared:       {{.Shared}}
Size:         {{.Size}}
{{- if .Description}}
Description:  {{.Description}}
{{- end}}
Usage count:  {{.UsageCount}}
{{- if .LastUsedAt}}
Last used:    {{.LastUsedAt}}
{{- end}}
{{- if .Type}}
Type:         {{.Type}}
{{- end}}
";

/// How `du` writes records.
#[derive(Debug, Clone)]
pub(crate) struct Format {
    listing: Listing,
    summary: bool,
}

impl Format {
    /// Reads `--format` and `--verbose`.
    pub(crate) fn new(format: Option<&str>, verbose: bool) -> Result<Self, CliError> {
        let format = match format.filter(|format| !format.is_empty()) {
            Some(_) if verbose => {
                return Err(CliError::new("--format and --verbose cannot be used together"));
            }
            None if verbose => "pretty",
            None => "table",
            Some(format) => format,
        };
        let listing = Listing::parse(match format {
            "table" => TABLE,
            "pretty" => PRETTY,
            "json" => "{{json .}}",
            other => other,
        })?;
        Ok(Self { listing, summary: matches!(format, "table" | "pretty") })
    }

    /// Whether a summary follows the list.
    pub(crate) fn has_summary(&self) -> bool {
        self.summary
    }

    /// Writes a list.
    pub(crate) fn write(&self, records: &[Record], now: Timestamp) -> Result<String, CliError> {
        let mut rows = String::new();
        for record in records {
            let value = Row::new(record, now).value(self.listing.table);
            rows += &self
                .listing
                .template
                .run(&value, "*commands.diskusageContext")
                .map_err(|error| refused(&error))?;
            rows.push('\n');
        }
        self.listing.lay_out(rows, &titles())
    }
}

fn titles() -> Value {
    json!({
        "ID": "ID",
        "Parents": "PARENTS",
        "CreatedAt": "CREATED AT",
        "Mutable": "MUTABLE",
        "Reclaimable": "RECLAIMABLE",
        "Shared": "SHARED",
        "Size": "SIZE",
        "Description": "DESCRIPTION",
        "UsageCount": "USAGE COUNT",
        "LastUsedAt": "LAST ACCESSED",
        "Type": "TYPE",
    })
}

/// A record as it is written.
pub(crate) struct Row<'a> {
    record: &'a Record,
    size: String,
    last_used: String,
}

impl<'a> Row<'a> {
    pub(crate) fn new(record: &'a Record, now: Timestamp) -> Self {
        Self {
            record,
            size: human_size(record.size),
            last_used: record.last_used.map_or_else(String::new, |time| ago(time, now)),
        }
    }

    /// What templates see. In tables there are asterisks: a mutable record's ID, a shared record's size.
    fn value(&self, table: bool) -> Value {
        let record = self.record;
        let parents = if record.parents.is_empty() { Value::Null } else { json!(record.parents) };
        json!({
            "ID": if table { self.id() } else { record.id.clone() },
            "Parents": parents,
            "CreatedAt": go_time(record.created),
            "Mutable": record.mutable,
            "Reclaimable": !record.in_use,
            "Shared": record.shared,
            "Size": if table { self.size() } else { self.size.clone() },
            "Description": record.description,
            "UsageCount": record.uses,
            "LastUsedAt": self.last_used,
            "Type": record.kind,
        })
    }

    fn id(&self) -> String {
        format!("{}{}", self.record.id, if self.record.mutable { "*" } else { "" })
    }

    fn size(&self) -> String {
        format!("{}{}", self.size, if self.record.shared { "*" } else { "" })
    }

    /// A line of `prune`, after the titles if it is the first one. Each line is aligned by itself, since the next
    /// ones are not known yet.
    pub(crate) fn pruned(&self, first: bool) -> String {
        let titles = if first { "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n" } else { "" };
        let (id, size) = (self.id(), self.size());
        let reclaimable = !self.record.in_use;
        table::tabs(&format!("{titles}{id:<40}\t{reclaimable:<5}\t{size:<10}\t{}\n", self.last_used))
    }

    /// A record of `prune --verbose`.
    pub(crate) fn pruned_verbose(&self) -> String {
        let record = self.record;
        let parents = record.parents.join(",");
        let lines = [
            ("ID", record.id.clone()),
            ("Parent", parents),
            ("Created at", go_time(record.created)),
            ("Mutable", record.mutable.to_string()),
            ("Reclaimable", (!record.in_use).to_string()),
            ("Shared", record.shared.to_string()),
            ("Size", self.size.clone()),
            ("Description", record.description.clone()),
            ("Usage count", record.uses.to_string()),
            ("Last used", self.last_used.clone()),
            ("Type", record.kind.clone()),
        ];
        let lines = lines.iter().filter(|(_, value)| !value.is_empty());
        let lines: Vec<String> = lines.map(|(name, value)| format!("{name}:\t{value}")).collect();
        table::tabs(&lines.join("\n")) + "\n\n"
    }
}

/// The lines after a list.
pub(crate) fn summary(records: &[Record]) -> String {
    let sum = |wanted: &dyn Fn(&Record) -> bool| -> u64 {
        records.iter().filter(|record| wanted(record)).map(|record| record.size).sum()
    };
    let (total, shared) = (sum(&|_| true), sum(&|record| record.shared));
    let mut lines = vec![("Shared", shared), ("Private", total - shared)];
    lines.retain(|_| shared > 0);
    lines.extend([("Reclaimable", sum(&|record| !record.in_use)), ("Total", total)]);
    let lines: Vec<String> =
        lines.into_iter().map(|(name, bytes)| format!("{name}:\t{}", human_size(bytes))).collect();
    table::tabs(&lines.join("\n")) + "\n"
}

/// The line after what was removed.
pub(crate) fn total(bytes: u64) -> String {
    table::tabs(&format!("Total:\t{}\n", human_size(bytes)))
}

/// The system's time.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const NOW: i64 = 1_795_314_301_789_316_146;

    fn records() -> Vec<Record> {
        let record = Record {
            id: "5f05py07ljvez5vrgaim6l4er".to_owned(),
            kind: "regular".to_owned(),
            description: "mount / from exec /bin/sh -c echo a > /a".to_owned(),
            parents: vec!["b73w39z6m5uqkhwv5j4tx8z94".to_owned()],
            created: NOW - 7_200_000_000_000,
            last_used: Some(NOW - 3_600_000_000_000),
            uses: 2,
            size: 12_380,
            mutable: false,
            in_use: true,
            shared: true,
        };
        let cache = Record {
            id: "jm2818tfqbtdho51wwjt2vf82".to_owned(),
            kind: "exec.cachemount".to_owned(),
            description: String::new(),
            parents: Vec::new(),
            last_used: Some(NOW),
            size: 2_007_000,
            mutable: true,
            in_use: false,
            shared: false,
            ..record.clone()
        };
        vec![record, cache]
    }

    fn write(format: Option<&str>, verbose: bool) -> String {
        let now = Timestamp::from_nanosecond(NOW.into()).unwrap();
        let write = |format: Format| format.write(&records(), now);
        match Format::new(format, verbose).and_then(write) {
            Ok(text) => text,
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn lists_look_like_those_of_buildx() {
        assert_snapshot!(write(None, false), @r"
        ID                           RECLAIMABLE   SIZE       LAST ACCESSED
        5f05py07ljvez5vrgaim6l4er    false         12.38kB*   About an hour ago
        jm2818tfqbtdho51wwjt2vf82*   true          2.007MB    Less than a second ago
        ");
        assert_snapshot!(write(None, true), @r"
        ID:           5f05py07ljvez5vrgaim6l4er
        Parents:
         - b73w39z6m5uqkhwv5j4tx8z94
        Created at:   2026-11-22 00:25:01.789316146 +0000 UTC
        Mutable:      false
        Reclaimable:  false
        Shared:       true
        Size:         12.38kB
        Description:  mount / from exec /bin/sh -c echo a > /a
        Usage count:  2
        Last used:    About an hour ago
        Type:         regular

        ID:           jm2818tfqbtdho51wwjt2vf82
        Created at:   2026-11-22 00:25:01.789316146 +0000 UTC
        Mutable:      true
        Reclaimable:  true
        Shared:       false
        Size:         2.007MB
        Usage count:  2
        Last used:    Less than a second ago
        Type:         exec.cachemount
        ");
        assert_snapshot!(write(Some("json"), false), @r#"
        {"CreatedAt":"2026-11-22 00:25:01.789316146 +0000 UTC","Description":"mount / from exec /bin/sh -c echo a \u003e /a","ID":"5f05py07ljvez5vrgaim6l4er","LastUsedAt":"About an hour ago","Mutable":false,"Parents":["b73w39z6m5uqkhwv5j4tx8z94"],"Reclaimable":false,"Shared":true,"Size":"12.38kB","Type":"regular","UsageCount":2}
        {"CreatedAt":"2026-11-22 00:25:01.789316146 +0000 UTC","Description":"","ID":"jm2818tfqbtdho51wwjt2vf82","LastUsedAt":"Less than a second ago","Mutable":true,"Parents":null,"Reclaimable":true,"Shared":false,"Size":"2.007MB","Type":"exec.cachemount","UsageCount":2}
        "#);
        assert_eq!(
            write(Some("{{.ID}}: {{.Size}}"), false).lines().next(),
            Some("5f05py07ljvez5vrgaim6l4er: 12.38kB")
        );
        assert_snapshot!(write(Some(r"table {{.ID}}\t{{.Type}}"), false), @r"
        ID                           TYPE
        5f05py07ljvez5vrgaim6l4er    regular
        jm2818tfqbtdho51wwjt2vf82*   exec.cachemount
        ");
        assert!(write(Some("json"), true).contains("--format and --verbose cannot be used together"));
        assert!(
            write(Some("{{.ID"), false).contains("template parsing error: template: :1: unclosed action")
        );
    }

    #[test]
    fn sums_and_what_was_removed_look_like_those_of_buildx() {
        assert_eq!(
            summary(&records()),
            "Shared:\t\t12.38kB\nPrivate:\t2.007MB\nReclaimable:\t2.007MB\nTotal:\t\t2.019MB\n"
        );
        assert_eq!(summary(&records()[1..]), "Reclaimable:\t2.007MB\nTotal:\t\t2.007MB\n");
        let now = Timestamp::from_nanosecond(NOW.into()).unwrap();
        let records = records();
        let lines: Vec<String> =
            [(0, true), (1, false)].map(|(at, first)| Row::new(&records[at], now).pruned(first)).into();
        assert_eq!(
            lines.concat(),
            "ID\t\t\t\t\t\tRECLAIMABLE\tSIZE\t\tLAST ACCESSED\n\
             5f05py07ljvez5vrgaim6l4er               \tfalse\t\t12.38kB*  \tAbout an hour ago\n\
             jm2818tfqbtdho51wwjt2vf82*              \ttrue \t2.007MB   \tLess than a second ago\n"
        );
        let never = Record { last_used: None, kind: String::new(), ..records[1].clone() };
        let shown = Row::new(&never, now).pruned_verbose();
        assert!(shown.ends_with("Usage count:\t2\n\n"), "{shown}");
        let pretty = Format::new(Some("pretty"), false).unwrap().write(&[never], now).unwrap();
        assert!(pretty.ends_with("Usage count:  2\n\n"), "{pretty:?}");
        assert_eq!(total(0), "Total:\t0B\n");
        assert_snapshot!(Row::new(&records[1], now).pruned_verbose(), @r"
        ID:		jm2818tfqbtdho51wwjt2vf82
        Created at:	2026-11-22 00:25:01.789316146 +0000 UTC
        Mutable:	true
        Reclaimable:	true
        Shared:		false
        Size:		2.007MB
        Usage count:	2
        Last used:	Less than a second ago
        Type:		exec.cachemount
        ");
    }
}
