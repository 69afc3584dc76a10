//! `cargo xtask chart`: the chart's README and its lint.
//!
//! The table of values is made from `values.yaml`: a comment that begins with `# --` describes the key below it, further
//! comment lines continue it. The table stands between two markers; the rest of the README is written by hand.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use connected_cache_cluster::components::Component;
use serde_json::Value;

use crate::{cluster, run, workspace};

const BEGIN: &str = "<!-- values: written by `cargo xtask chart` -->";
const END: &str = "<!-- end of values -->";

/// Options of `cargo xtask chart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Compare instead of writing; fail when the README differs from the values.
    #[arg(long)]
    pub check: bool,
}

/// Writes or compares the README, then lints the chart with the real helm.
pub(crate) async fn main(options: &Options) -> Result<()> {
    readme(options.check)?;
    let helm = cluster::component(Component::Helm).await?;
    lint(&helm)
}

/// Writes the table of values into the README, or compares it.
pub(crate) fn readme(check: bool) -> Result<()> {
    let folder = folder();
    let path = folder.join("README.md");
    let values = std::fs::read_to_string(folder.join("values.yaml")).context("unable to read values.yaml")?;
    let found =
        std::fs::read_to_string(&path).with_context(|| format!("unable to read {}", path.display()))?;
    let expected = with_table(&found, &table(&values)?)?;
    if found == expected {
        return Ok(());
    }
    if check {
        bail!("{} differs from values.yaml: run `cargo xtask chart`", path.display());
    }
    std::fs::write(&path, expected)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// `helm lint --strict`, and the templates rendered with the defaults and with everything that has a switch.
pub(crate) fn lint(helm: &std::path::Path) -> Result<()> {
    let chart = folder();
    run::check(Command::new(helm).args(["lint", "--strict"]).arg(&chart))?;
    let digest = format!("sha256:{}", "0".repeat(64));
    for values in [
        String::new(),
        "rbac.create=false,serviceAccount.create=false,crds.install=false".to_owned(),
        "watchNamespace=caches,crds.keep=false,test.url=http://cache/x?cacheHostOrigin=example.edu"
            .to_owned(),
        format!("image.digest={digest},sidecarImage.digest={digest},replicaCount=1"),
    ] {
        let mut render = Command::new(helm);
        render.args(["template", "check", "--namespace", "check", "--set", &values]).arg(&chart);
        run::read(&mut render)?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    workspace::root().join("charts/connected-cache")
}

/// The README with the text between the markers replaced.
fn with_table(readme: &str, table: &str) -> Result<String> {
    let (before, rest) =
        readme.split_once(BEGIN).with_context(|| format!("the README lacks the line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("the README lacks the line {END}"))?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

/// A Markdown table of every described value.
fn table(values: &str) -> Result<String> {
    let parsed: Value = serde_saphyr::from_str(values).context("values.yaml is not YAML")?;
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    for (path, description) in descriptions(values) {
        let default = parsed
            .pointer(&format!("/{}", path.replace('.', "/")))
            .with_context(|| format!("values.yaml describes {path}, which has no value"))?;
        let _ = writeln!(table, "| `{path}` | `{default}` | {} |", description.replace('|', "\\|"));
    }
    Ok(table)
}

/// The described keys in their order: path with dots, and description.
fn descriptions(values: &str) -> Vec<(String, String)> {
    let mut described = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in values.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(first) = text.strip_prefix("# -- ") {
            comment = Some(first.trim().to_owned());
        } else if let Some(more) = text.strip_prefix('#') {
            if let Some(comment) = &mut comment {
                comment.push(' ');
                comment.push_str(more.trim());
            }
        } else if let Some((key, _)) = text.split_once(':').filter(|(key, _)| is_key(key)) {
            parents.retain(|(depth, _)| *depth < indent);
            parents.push((indent, key.to_owned()));
            if let Some(comment) = comment.take() {
                let path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).collect();
                described.push((path.join("."), comment));
            }
        } else {
            comment = None;
        }
    }
    described
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "-_".contains(character))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, table, with_table};

    const VALUES: &str = "\
# Copyright line that describes nothing

# -- How many operators run;
# one leads.
replicaCount: 2
image:
  # -- Registry | host.
  registry: localhost
  tag: \"\"
# -- Extra variables.
extraEnv: []
";

    #[test]
    fn every_described_value_has_a_row_with_its_default() -> anyhow::Result<()> {
        let table = table(VALUES)?;
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `replicaCount` | `2` | How many operators run; one leads. |",
                "| `image.registry` | `\"localhost\"` | Registry \\| host. |",
                "| `extraEnv` | `[]` | Extra variables. |",
            ]
        );
        Ok(())
    }

    #[test]
    fn only_the_text_between_the_markers_is_replaced() -> anyhow::Result<()> {
        let readme = format!("# Chart\n{BEGIN}\nold\n{END}\ntail\n");
        assert_eq!(with_table(&readme, "new\n")?, format!("# Chart\n{BEGIN}\nnew\n{END}\ntail\n"));
        assert!(with_table("no markers", "new").is_err());
        Ok(())
    }
}
