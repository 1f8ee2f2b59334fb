//! What `deny.toml` says of licences and versions, held without cargo-deny, which takes longer to compile than hydrant.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use spdx::{Expression, LicenseId, ParseMode};

use testkit::cache::project;

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
    skip: Vec<Banned>,
}

/// A crate and perhaps the beginning of its version.
#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

/// A package that is compiled.
struct Package {
    name: String,
    version: String,
    license: String,
}

/// Those of the whole workspace on this machine's kind of processor, with the features that they have.
fn packages() -> Result<Vec<Package>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--edges=normal,build,dev",
        ])
        .args(["--prefix=none", "--no-dedupe", "--format={p}\t{l}"])
        .current_dir(project())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    let lines: BTreeSet<String> = String::from_utf8(output.stdout)?
        .lines()
        .map(str::to_owned)
        .collect();
    let package = |line: &String| {
        let (package, license) = line.split_once('\t').context("no licence")?;
        let mut words = package.split(' ');
        let mut word = || {
            words
                .next()
                .map(str::to_owned)
                .with_context(|| line.clone())
        };
        let (name, version) = (word()?, word()?);
        Ok(Package {
            name,
            version: version.trim_start_matches('v').to_owned(),
            license: license.to_owned(),
        })
    };
    let packages: Vec<Package> = lines
        .iter()
        .filter(|line| !line.is_empty())
        .map(package)
        .collect::<Result<_>>()?;
    ensure!(packages.len() > 100, "no packages");
    Ok(packages)
}

fn rules() -> Result<Rules> {
    let text = std::fs::read_to_string(project().join("deny.toml"))?;
    Ok(toml::from_str(&text)?)
}

/// Whether a version begins with these numbers.
fn is_of(version: &str, beginning: &str) -> bool {
    version
        .strip_prefix(beginning)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[test]
fn dependencies_are_as_deny_toml_has_them() -> Result<()> {
    let (rules, packages) = (rules()?, packages()?);
    let allowed: Vec<LicenseId> = rules
        .licenses
        .allow
        .iter()
        .map(|name| spdx::license_id(name).with_context(|| format!("no licence {name}")))
        .collect::<Result<_>>()?;
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for Package {
        name,
        version,
        license,
    } in &packages
    {
        versions.entry(name).or_default().insert(version);
        let expression = Expression::parse_mode(license, ParseMode::LAX)
            .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        let is_allowed = expression.evaluate(|required| {
            let id = required.license.id();
            let found = allowed.iter().find(|it| id == Some(**it));
            used.extend(found.map(|it| it.name));
            found.is_some()
        });
        ensure!(is_allowed, "{name} {version} is under {license}");
        let is_banned = rules.bans.deny.iter().any(|banned| banned.name == *name);
        ensure!(!is_banned, "{name} is banned");
    }
    let unused = allowed.iter().find(|it| !used.contains(it.name));
    ensure!(unused.is_none(), "nothing is under {unused:?} any more");
    let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
    for skipped in &rules.bans.skip {
        let (name, beginning) = skipped.name.split_once('@').context("no version")?;
        known.insert((name, beginning));
        let found = versions.get(name).into_iter().flatten();
        let is_there = found.clone().any(|version| is_of(version, beginning));
        ensure!(
            is_there && found.count() > 1,
            "{} is not doubled any more: take it out of deny.toml",
            skipped.name
        );
    }
    for (name, versions) in &versions {
        let is_known = |version: &&&str| {
            known
                .iter()
                .any(|(skipped, beginning)| skipped == name && is_of(version, beginning))
        };
        let unknown: Vec<_> = versions
            .iter()
            .filter(|version| !is_known(version))
            .collect();
        ensure!(
            unknown.len() <= 1,
            "{name} is there as {unknown:?}: choose one, or say why not in deny.toml"
        );
    }
    Ok(())
}
