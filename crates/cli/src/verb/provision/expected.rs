//! What an inventory of a type's devices is expected to say: the walk of the factory image's root file system.

use std::{
    io,
    path::{Path, PathBuf},
};

use kusabi_agent::{
    config::{CONFIG_BYTES_MAX, Config},
    inventory::{Tree as _, Walk},
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

/// The agent's configuration, of devices of this type where one is wanted.
fn config(path: &Path, device_type: Option<&str>) -> Result<Config> {
    let bytes = files::read(path, CONFIG_BYTES_MAX)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(Exit::Config, format!("{} is not text", path.display())))?;
    let config = Config::parse(&text).map_err(|why| {
        Failure::new(Exit::Config, format!("{} is not valid", path.display()))
            .excerpt(why.to_string().trim_end())
    })?;
    if let Some(wanted) = device_type
        && wanted != config.device_type
    {
        return Err(Failure::new(
            Exit::Config,
            format!(
                "{} is the configuration of devices of type {}, and not of {wanted}",
                path.display(),
                config.device_type
            ),
        )
        .advise(format!(
            "name the configuration of {wanted}; of a release for several types, --agent-config TYPE=FILE.toml for each"
        )));
    }
    if config.inventory.is_empty() {
        return Err(Failure::new(
            Exit::Config,
            format!("{} says no paths to inventory", path.display()),
        )
        .advise("say them: inventory.paths"));
    }
    Ok(config)
}

/// Refuses a path to inventory that is not there.
fn present(tree: &Tree, root: &Path, path: &Path, config: &Path) -> Result<()> {
    match tree.look(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::new(
                Exit::Config,
                format!(
                    "{} has no /{}, which {} inventories",
                    root.display(),
                    path.display(),
                    config.display()
                ),
            )
            .advise("correct inventory.paths: below a path that is not there nothing is watched"),
            _ => Failure::io("read", &root.join(path), &error),
        }),
    }
}

impl Image {
    /// Walks `root`, a folder or an image, as the agent of devices of a type will walk its own: by the agent's configuration, or all of it
    /// where none is named. A configuration of another type is refused, and one of paths that `root` does not have: devices would watch
    /// nothing by it, and say that all is as expected.
    pub(crate) fn of(
        root: &Path,
        agent_config: Option<&Path>,
        device_type: Option<&str>,
    ) -> Result<Self> {
        let tree = Tree::open(root).map_err(|why| Failure::new(Exit::File, why.to_string()))?;
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(
                Exit::File,
                format!("no inventory of {}: {why}", root.display()),
            )
        };
        let (walk, named) = match agent_config {
            Some(path) => {
                let config = config(path, device_type)?;
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
        if let Some(config) = agent_config {
            for path in walk.paths() {
                present(&tree, root, path, config)?;
            }
        }
        Ok(Self {
            bytes,
            summary,
            walk: agent_config.is_some().then_some(walk),
            device_type: named,
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
        let mut types = wanted.iter().map(|device| &device.device_type);
        if let Some(named) = &self.device_type {
            let named = fleet::text("device.type", named)?;
            if types.all(|one| one.as_ref().is_some_and(|one| *one != named)) {
                return Err(Failure::new(
                    Exit::Config,
                    format!("the agent's configuration is of devices of type {named}, and none of these is"),
                )
                .advise("name the configuration of their type"));
            }
            return Ok(named);
        }
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
