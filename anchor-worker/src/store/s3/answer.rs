//! The XML of answers: bounded before it comes here, no document type, no entities of its own, and of each element only what we know.

use identity_core::moment;
use percent_encoding::percent_decode_str;
use roxmltree::{Document, Node, ParsingOptions};

use crate::store::Entry;
use crate::trouble::{Kind, Trouble};

/// A page of a thousand versions has some thirty thousand.
const MAX_NODES: u32 = 200_000;

/// A page of a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Whether another one follows.
    pub truncated: bool,
    /// With their whole keys.
    pub entries: Vec<Entry>,
}

/// Reads `<ListVersionsResult>`. Versions and delete markers are mixed, and their order is the answer's.
pub(super) fn page(body: &[u8]) -> Result<Page, Trouble> {
    read(body, "ListVersionsResult", |root| {
        let truncated = match text(root, "IsTruncated")? {
            "true" => true,
            "false" => false,
            _ => return None,
        };
        let encoded = text(root, "EncodingType") == Some("url");
        let entries = root.children().filter_map(|node| {
            let delete_marker = match node.tag_name().name() {
                "Version" => false,
                "DeleteMarker" => true,
                _ => return None,
            };
            Some(entry(node, delete_marker, encoded))
        });
        Some(Page {
            truncated,
            entries: entries.collect::<Option<_>>()?,
        })
    })
}

fn entry(node: Node<'_, '_>, delete_marker: bool, encoded: bool) -> Option<Entry> {
    let key = text(node, "Key")?;
    let key = if encoded {
        // As in a form: a space may be a plus, and a plus never is one.
        let key = key.replace('+', " ");
        percent_decode_str(&key).decode_utf8().ok()?.into_owned()
    } else {
        key.to_owned()
    };
    Some(Entry {
        key,
        version_id: text(node, "VersionId")?.to_owned(),
        delete_marker,
        modified: moment::parse(text(node, "LastModified")?)?,
    })
}

/// Reads `<VersioningConfiguration>`: its status, if it was ever set.
pub(super) fn versioning(body: &[u8]) -> Result<Option<String>, Trouble> {
    read(body, "VersioningConfiguration", |root| {
        Some(text(root, "Status").map(str::to_owned))
    })
}

/// Reads `<ObjectLockConfiguration>`: the mode and period of its default retention.
pub(super) fn object_lock(body: &[u8]) -> Result<Option<(String, String)>, Trouble> {
    read(body, "ObjectLockConfiguration", |root| {
        let retention = (text(root, "ObjectLockEnabled") == Some("Enabled"))
            .then(|| child(child(root, "Rule")?, "DefaultRetention"))
            .flatten();
        let Some(retention) = retention else {
            return Some(None);
        };
        let number = |name| text(retention, name)?.parse::<u32>().ok();
        let period = match (number("Days"), number("Years")) {
            (Some(days @ 1..), None) => format!("{days} days"),
            (None, Some(years @ 1..)) => format!("{years} years"),
            _ => return None,
        };
        Some(Some((text(retention, "Mode")?.to_owned(), period)))
    })
}

/// Reads `<Retention>`: until when, if it is in compliance mode, else 0.
pub(super) fn retention(body: &[u8]) -> Result<i64, Trouble> {
    read(body, "Retention", |root| {
        if text(root, "Mode") != Some("COMPLIANCE") {
            return Some(0);
        }
        moment::parse(text(root, "RetainUntilDate")?)
    })
}

/// The code of an `<Error>`, if the body is one and the code looks like a code.
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    let code = read(body, "Error", |root| Some(text(root, "Code")?.to_owned())).ok()?;
    let plain = !code.is_empty() && code.len() <= 64;
    (plain && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

fn read<T>(
    body: &[u8],
    name: &str,
    take: impl FnOnce(Node<'_, '_>) -> Option<T>,
) -> Result<T, Trouble> {
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    let taken = core::str::from_utf8(body)
        .ok()
        .and_then(|text| Document::parse_with_options(text, options).ok())
        .and_then(|document| {
            let root = document.root_element();
            if root.tag_name().name() == name {
                take(root)
            } else {
                None
            }
        });
    taken.ok_or_else(|| {
        let text = format!("the store's answer is not the {name} it should be");
        Trouble::new(Kind::Untrue, text)
    })
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    let mut found = node
        .children()
        .filter(|child| child.tag_name().name() == name);
    let first = found.next();
    // Two of one name could be read in two ways.
    first.filter(|_| found.next().is_none())
}

fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let child = child(node, name)?;
    let plain = child.children().all(|inner| inner.is_text());
    plain.then(|| child.text().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the documentation of ListObjectVersions, shortened.
    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
    <Name>bucket</Name><Prefix>my</Prefix><KeyMarker/><VersionIdMarker/><MaxKeys>5</MaxKeys><IsTruncated>false</IsTruncated>
    <Version>
        <Key>my-image.jpg</Key><VersionId>3/L4kqtJl40Nr8X8gdRQBpUMLUo</VersionId><IsLatest>true</IsLatest>
        <LastModified>2009-10-12T17:50:30.000Z</LastModified><ETag>"fba9dede5f27731c9771645a39863328"</ETag><Size>434234</Size>
        <StorageClass>STANDARD</StorageClass><Owner><ID>75aa</ID><DisplayName>mtd@amazon.com</DisplayName></Owner>
    </Version>
    <DeleteMarker>
        <Key>my-second-image.jpg</Key><VersionId>03jpff543dhffds434rfdsFDN943fdsFkdmqnh892</VersionId><IsLatest>true</IsLatest>
        <LastModified>2009-11-12T17:50:30.000Z</LastModified><Owner><ID>75aa</ID></Owner>
    </DeleteMarker>
</ListVersionsResult>"#;

    #[test]
    fn a_page_of_the_documentation() {
        let Page { truncated, entries } = page(PAGE.as_bytes()).unwrap();
        assert!(!truncated);
        let [version, marker] = entries.as_slice() else {
            panic!("two entries");
        };
        assert_eq!(version.key, "my-image.jpg");
        assert_eq!(version.version_id, "3/L4kqtJl40Nr8X8gdRQBpUMLUo");
        assert_eq!(version.modified, 1_255_369_830_000_000);
        assert!(!version.delete_marker && marker.delete_marker);
    }

    #[test]
    fn an_encoded_key_is_decoded() {
        let encoded = PAGE
            .replace("<KeyMarker/>", "<EncodingType>url</EncodingType>")
            .replace("my-image.jpg", "a%2Fb%01%20%C3%A4%3Cx%3E+c%2Bd");
        assert_eq!(
            page(encoded.as_bytes()).unwrap().entries[0].key,
            "a/b\u{1} ä<x> c+d"
        );
        let broken = encoded.replace("%C3%A4", "%C3");
        assert!(page(broken.as_bytes()).is_err());
    }

    #[test]
    fn a_page_that_could_be_read_in_two_ways_is_refused() {
        for (from, to) in [
            ("<IsTruncated>false</IsTruncated>", ""),
            (
                "<IsTruncated>false</IsTruncated>",
                "<IsTruncated>no</IsTruncated>",
            ),
            (
                "<IsTruncated>",
                "<IsTruncated>true</IsTruncated><IsTruncated>",
            ),
            (
                "<Key>my-image.jpg</Key>",
                "<Key>my-image.jpg</Key><Key>b</Key>",
            ),
            ("<Key>my-image.jpg</Key>", "<Key>my<i/>-image.jpg</Key>"),
            (
                "<LastModified>2009-10-12T17:50:30.000Z",
                "<LastModified>yesterday",
            ),
            ("ListVersionsResult", "ListBucketResult"),
            (
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
                "<!DOCTYPE x [<!ENTITY e 'ee'>]>",
            ),
            ("my-image", "&e;"),
            ("</ListVersionsResult>", ""),
        ] {
            assert!(PAGE.contains(from));
            assert!(page(PAGE.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert!(page(b"\xff").is_err() && page(b"").is_err());
    }

    #[test]
    fn an_answer_of_a_million_elements_is_not_kept() {
        let many = PAGE.replace("<Name>", &format!("{}<Name>", "<x/>".repeat(1_000_000)));
        assert!(page(many.as_bytes()).is_err());
    }

    #[test]
    fn only_compliance_is_a_lock() {
        let until = |mode| {
            let text = format!(
                "<Retention><Mode>{mode}</Mode><RetainUntilDate>2030-01-02T03:04:05.000000000Z</RetainUntilDate></Retention>"
            );
            retention(text.as_bytes())
        };
        assert_eq!(until("COMPLIANCE").unwrap(), 1_893_553_445_000_000);
        assert_eq!(until("GOVERNANCE").unwrap(), 0);
        assert!(retention(b"<Retention><Mode>COMPLIANCE</Mode></Retention>").is_err());
        assert!(retention(b"<Error/>").is_err());
    }

    #[test]
    fn the_default_retention() {
        let lock = |inner: &str| {
            let text = format!("<ObjectLockConfiguration>{inner}</ObjectLockConfiguration>");
            object_lock(text.as_bytes())
        };
        let rule = |period| {
            format!(
                "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode>{period}</DefaultRetention></Rule>"
            )
        };
        let years = lock(&rule("<Years>7</Years>")).unwrap().unwrap();
        assert_eq!(years, ("COMPLIANCE".into(), "7 years".into()));
        assert_eq!(lock(&rule("<Days>1</Days>")).unwrap().unwrap().1, "1 days");
        assert!(lock(&rule("<Days>0</Days>")).is_err());
        assert_eq!(
            lock("<ObjectLockEnabled>Enabled</ObjectLockEnabled>").unwrap(),
            None
        );
        assert_eq!(lock("").unwrap(), None);
    }

    #[test]
    fn of_an_error_only_the_code_is_repeated() {
        let code = |code: &str| {
            error_code(format!("<Error><Code>{code}</Code><Message>m</Message></Error>").as_bytes())
        };
        assert_eq!(code("AccessDenied").unwrap(), "AccessDenied");
        assert_eq!(code("a b"), None);
        assert_eq!(code(&"a".repeat(65)), None);
        assert_eq!(error_code(b"<html>"), None);
    }
}
