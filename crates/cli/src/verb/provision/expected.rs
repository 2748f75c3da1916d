//! What an inventory of a type's devices is expected to say: the walk of the factory image's root file system.

use std::path::{Path, PathBuf};

use kusabi_agent::{
    config::{CONFIG_BYTES_MAX, Config},
    inventory::Walk,
};
use kusabi_api::admin::Text;
use kusabi_core::inventory::{InventorySummary, TypeRules};
use kusabi_image::Image as Tree;
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    fleet::{self, Fleet},
    roster::Wanted,
};

/// An inventory that was taken of an image.
pub(crate) struct Image {
    bytes: Vec<u8>,
    summary: InventorySummary,
    /// What was walked, as the agent's configuration says; none where none was named.
    walk: Option<Walk>,
    /// The type that the agent's configuration names.
    device_type: Option<String>,
}

/// What the server was told.
#[derive(Serialize)]
pub(crate) struct Told {
    #[serde(rename = "type")]
    pub(crate) device_type: String,
    pub(crate) components: u32,
    pub(crate) digest: String,
}

impl Image {
    /// Walks `root`, a folder or an image, as the device's agent will walk its own: by the agent's configuration, or all of it where none is
    /// named.
    pub(crate) fn of(root: &Path, agent_config: Option<&Path>) -> Result<Self> {
        let tree = Tree::open(root).map_err(|why| Failure::new(Exit::File, why.to_string()))?;
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(
                Exit::File,
                format!("no inventory of {}: {why}", root.display()),
            )
        };
        let (walk, device_type) = match agent_config {
            Some(path) => {
                let bytes = files::read(path, CONFIG_BYTES_MAX)?;
                let text = String::from_utf8(bytes).map_err(|_| {
                    Failure::new(Exit::Config, format!("{} is not text", path.display()))
                })?;
                let config = Config::parse(&text).map_err(|why| {
                    Failure::new(Exit::Config, format!("{} is not valid", path.display()))
                        .excerpt(why.to_string().trim_end())
                })?;
                (config.inventory.at(root), Some(config.device_type))
            }
            None => {
                let walk =
                    Walk::new(root, &[PathBuf::from("/")], &[]).map_err(|why| wrong(&why))?;
                (walk, None)
            }
        };
        let mut bytes = Vec::new();
        let summary = walk.take_of(&tree, &mut bytes).map_err(|why| wrong(&why))?;
        Ok(Self {
            bytes,
            summary,
            walk: agent_config.is_some().then_some(walk),
            device_type,
        })
    }

    /// The inventory's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many components it has, and its digest.
    pub(crate) const fn summary(&self) -> &InventorySummary {
        &self.summary
    }

    /// What devices of a type are to walk, to be signed with the release; none where nobody named the agent's configuration.
    pub(crate) fn rules(&self, device_type: &str) -> Result<Option<TypeRules>> {
        let rules = self.walk.as_ref().map(|walk| walk.rules(device_type));
        rules.transpose().map_err(|why| {
            Failure::new(
                Exit::Config,
                format!("what the agent's configuration inventories cannot be signed: {why}"),
            )
        })
    }

    /// The type that it is for: the agent's configuration says it, or all devices are of one.
    pub(super) fn device_type(&self, wanted: &[Wanted]) -> Result<Text> {
        if let Some(named) = &self.device_type {
            return fleet::text("device.type", named);
        }
        let mut types = wanted.iter().map(|device| &device.device_type);
        match types.next() {
            Some(Some(first)) if types.all(|other| other.as_ref() == Some(first)) => {
                Ok(first.clone())
            }
            _ => Err(Failure::new(
                Exit::Usage,
                "an image is for devices of one type, and these have several or none",
            )
            .advise("give --type TYPE, or --agent-config FILE.toml, which names it; or provision each type by itself")),
        }
    }

    /// Tells the server what to expect of a type's devices.
    pub(crate) fn tell(&self, fleet: &Fleet, device_type: Text) -> Result<Told> {
        let told = Told {
            components: self.summary.count(),
            digest: self.summary.digest().to_string(),
            device_type: device_type.to_string(),
        };
        fleet.ask(
            fleet
                .client()
                .expect_inventory(&told.device_type, self.bytes.clone().into()),
        )?;
        Ok(told)
    }
}
