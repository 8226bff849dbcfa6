//! The settings of one component, as they stand in the topology file.

use serde::de::DeserializeOwned;

/// A TOML table whose strings have had their variables filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub toml::Table);

/// A setting that cannot be used. `key` leads to it: `schedules[0].rate`, empty when unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    pub key: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Makes a `T` of its settings, or says everything that is wrong with them.
pub type Build<T> = fn(&Settings) -> Result<Box<T>, Vec<SettingsError>>;

impl SettingsError {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Settings {
    /// Reads the table into a component's own type, which should deny unknown fields.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Vec<SettingsError>> {
        T::deserialize(toml::Value::Table(self.0.clone())).map_err(|error| {
            let message = error.message().to_owned();
            let key = between_backticks(&message).filter(|name| self.0.contains_key(*name)).unwrap_or_default();
            vec![SettingsError::new(key, message.clone())]
        })
    }
}

fn between_backticks(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[allow(dead_code, reason = "only parsing is tested")]
        rate: u32,
    }

    #[test]
    fn names_the_unknown_key() {
        let settings = Settings(toml::from_str("rate = 1\nrat = 2").expect("is TOML"));
        let errors = settings.parse::<Config>().expect_err("has an unknown key");
        assert_eq!(errors[0].key, "rat");
    }
}
