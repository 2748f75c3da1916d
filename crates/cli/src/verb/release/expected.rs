//! What devices are expected to hold after an installation, and by which rules they look.

use std::path::{Path, PathBuf};

use kusabi_core::{
    id::Digest,
    inventory::{RULES_KIND, Rules, TypeRules},
    release::{Content, ManifestError, ManifestParts},
};

use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    page::{Page, grouped},
    verb::provision::Image,
};

/// What was asked for.
pub(super) struct Wanted<'a> {
    /// What files are named after.
    pub(super) release: &'a str,
    pub(super) types: &'a [String],
    /// `[TYPE=]FOLDER|IMAGE`
    pub(super) roots: &'a [String],
    /// `[TYPE=]FILE.toml`
    pub(super) agent_configs: &'a [String],
}

impl Wanted<'_> {
    /// The agent's configuration on devices of a type.
    fn config(&self, device_type: &str) -> Result<Option<&Path>> {
        let mut all = None;
        let mut own = None;
        for named in self.agent_configs {
            let (only, path) = for_type(named, self.types);
            let place = match only {
                None => &mut all,
                Some(only) if only == device_type => &mut own,
                Some(_) => continue,
            };
            if place.replace(path).is_some() {
                return Err(twice("--agent-config", named, device_type));
            }
        }
        Ok(own.or(all))
    }
}

fn twice(flag: &str, named: &str, device_type: &str) -> Failure {
    Failure::new(
        Exit::Usage,
        format!("{flag} {named}: another one is named for {device_type}"),
    )
}

/// What is expected, in files that are to be written beside the manifest.
#[derive(Default)]
pub(super) struct Made {
    /// One for each device type, or one for all.
    inventories: Vec<Taken>,
    /// What devices walk, where it is signed with the release.
    rules: Option<(String, Vec<u8>)>,
}

/// An inventory that was taken.
struct Taken {
    file: String,
    bytes: Vec<u8>,
    components: u32,
}

/// What was written.
#[derive(Serialize)]
pub(super) struct Placed {
    inventories: Vec<Inventory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<PathBuf>,
}

/// An expected inventory that was written.
#[derive(Serialize)]
struct Inventory {
    file: PathBuf,
    components: u32,
}

impl Made {
    /// Writes it to the manifest's folder.
    pub(super) fn place(self, folder: &Path) -> Result<Placed> {
        let mut inventories = Vec::new();
        for taken in self.inventories {
            let file = within(folder, taken.file);
            files::replace(&file, &taken.bytes, Mode::Public)?;
            inventories.push(Inventory {
                file,
                components: taken.components,
            });
        }
        let mut rules = None;
        if let Some((name, bytes)) = self.rules {
            let path = within(folder, name);
            files::replace(&path, &bytes, Mode::Public)?;
            rules = Some(path);
        }
        Ok(Placed { inventories, rules })
    }
}

impl Placed {
    pub(super) fn page(&self, page: &mut Page) {
        for inventory in &self.inventories {
            let components = grouped(inventory.components.into());
            page.field(
                "expected inventory",
                format!("{}, {components} components", inventory.file.display()),
            );
        }
        if let Some(rules) = &self.rules {
            page.field("rules of the inventory", rules.display().to_string());
        }
    }
}

/// Puts the expected inventories into the manifest's parts, and the rules by which they were taken.
pub(super) fn make(wanted: &Wanted<'_>, parts: &mut ManifestParts) -> Result<Made> {
    let mut made = Made::default();
    let mut rules: Vec<TypeRules> = Vec::new();
    for named in wanted.roots {
        let (only, root) = for_type(named, wanted.types);
        // By no configuration all types look alike: one walk serves them.
        let mut for_all: Option<Content> = None;
        for target in &mut parts.targets {
            let device_type = target.device_type.as_str();
            if only.is_some_and(|only| only != device_type) {
                continue;
            }
            let config = wanted.config(device_type)?;
            let content = match (config, for_all) {
                (None, Some(content)) => content,
                _ => {
                    let image = Image::of(root, config, Some(device_type))?;
                    rules.extend(image.rules(device_type)?);
                    let summary = image.summary();
                    let content = Content::new(summary.size(), summary.digest()).map_err(unfit)?;
                    let serves_all = only.is_none()
                        && (wanted.agent_configs.is_empty() || wanted.types.len() == 1);
                    let whose = if serves_all { "all" } else { device_type };
                    made.inventories.push(Taken {
                        file: format!("{}-{whose}.inventory", wanted.release),
                        bytes: image.bytes().to_vec(),
                        components: summary.count(),
                    });
                    if config.is_none() {
                        for_all = Some(content);
                    }
                    content
                }
            };
            if target.inventory.replace(content).is_some() {
                return Err(twice("--rootfs", named, device_type));
            }
        }
    }
    if !rules.is_empty() {
        let bytes = Rules::new(rules)
            .map_err(|why| Failure::new(Exit::Config, why.to_string()))?
            .encode();
        let content = Content::new(bytes.len() as u64, Digest::of(&bytes)).map_err(unfit)?;
        parts.documents.push((RULES_KIND.to_owned(), content));
        made.rules = Some((format!("{}.rules", wanted.release), bytes));
    }
    Ok(made)
}

fn unfit(why: ManifestError) -> Failure {
    Failure::new(Exit::Usage, format!("it cannot be expected: {why}"))
}

/// A file of a folder; the current one is not named.
pub(super) fn within(folder: &Path, name: String) -> PathBuf {
    match folder == Path::new(".") {
        true => PathBuf::from(name),
        false => folder.join(name),
    }
}

/// `TYPE=PATH`, where TYPE is one of the release's types, or a path alone.
pub(super) fn for_type<'a>(named: &'a str, types: &[String]) -> (Option<&'a str>, &'a Path) {
    match named.split_once('=') {
        Some((before, path)) if types.iter().any(|name| name == before) => {
            (Some(before), Path::new(path))
        }
        _ => (None, Path::new(named)),
    }
}
