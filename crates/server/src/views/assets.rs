//! Stylesheet, script and mark: in the program, under an address that changes with their content.

use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// A file that pages refer to.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) name: &'static str,
    pub(crate) media_type: &'static str,
    pub(crate) body: &'static [u8],
    version: String,
}

static ALL: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let asset = |name, media_type, body: &'static [u8]| Asset {
        name,
        media_type,
        body,
        version: kusabi_api::Hex::<32>(Sha256::digest(body).into()).to_string()[..12].to_owned(),
    };
    [
        asset(
            "console.css",
            "text/css; charset=utf-8",
            include_bytes!("assets/console.css"),
        ),
        asset(
            "console.js",
            "text/javascript; charset=utf-8",
            include_bytes!("assets/console.js"),
        ),
        asset(
            "mark.svg",
            "image/svg+xml",
            include_bytes!("assets/mark.svg"),
        ),
    ]
});

/// The asset of this name, if there is one.
pub(crate) fn find(name: &str) -> Option<&'static Asset> {
    ALL.iter().find(|asset| asset.name == name)
}

/// Its address; empty for one that there is not.
pub(crate) fn address(name: &str) -> String {
    find(name).map_or_else(String::new, |asset| {
        format!("/assets/{}?v={}", asset.name, asset.version)
    })
}
