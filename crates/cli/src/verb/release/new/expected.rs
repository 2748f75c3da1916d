//! What devices are expected to hold after an installation, and by which rules they look.

use std::path::Path;

use kusabi_core::{
    id::Digest,
    inventory::{RULES_KIND, Rules, TypeRules},
    release::{Content, ManifestError, ManifestParts},
};

use super::for_type;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
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

/// Puts the expected inventories into the manifest's parts, and the rules by which they were taken; says what files are to be written.
pub(super) fn make(
    wanted: &Wanted<'_>,
    parts: &mut ManifestParts,
) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut rules: Vec<TypeRules> = Vec::new();
    for named in wanted.roots {
        let (only, root) = for_type(named, wanted.types);
        // One walk serves all types that look alike.
        let mut taken: Vec<(Option<&Path>, Image, Content)> = Vec::new();
        for target in &mut parts.targets {
            let device_type = target.device_type.as_str();
            if only.is_some_and(|only| only != device_type) {
                continue;
            }
            let config = wanted.config(device_type)?;
            if !taken.iter().any(|(other, ..)| *other == config) {
                let image = Image::of(root, config)?;
                let summary = image.summary();
                let content = Content::new(summary.size(), summary.digest()).map_err(unfit)?;
                let whose = match (only, wanted.agent_configs.len()) {
                    (None, 0 | 1) => "all",
                    _ => device_type,
                };
                let name = format!("{}-{whose}.inventory", wanted.release);
                files.push((name, image.bytes().to_vec()));
                taken.push((config, image, content));
            }
            let Some((_, image, content)) = taken.iter().find(|(other, ..)| *other == config)
            else {
                continue;
            };
            rules.extend(image.rules(device_type)?);
            if target.inventory.replace(*content).is_some() {
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
        files.push((format!("{}.rules", wanted.release), bytes));
    }
    Ok(files)
}

fn unfit(why: ManifestError) -> Failure {
    Failure::new(Exit::Usage, format!("it cannot be expected: {why}"))
}
