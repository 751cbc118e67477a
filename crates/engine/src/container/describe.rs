//! What `docker inspect` prints of a container.

use std::time::Duration;

use serde_json::{Map, Value, json};
use stave_store::{ContainerRecord, ContainerState};

use super::{Config, ContainerMount, ContainerMountKind, attach, ended, is_alive, with_protocol};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::signal::signal_name;

/// Go's time that is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// Describes a container as `docker inspect` does. What only a daemon, a network of its own or a security module would
    /// have is there, and empty.
    pub fn inspect_container(&self, name: &str) -> Result<Value, EngineError> {
        let record = self.store.resolve_container(name)?;
        let config = Config::read(&record)?;
        let args = config.args();
        let (path, rest) = args.split_first().map_or(("", &[][..]), |(path, rest)| (path.as_str(), rest));
        let log = self.store.root().join(self.store.container_file_rel_path(&record.id, "log"));
        Ok(json!({
            "Id": record.id.to_string(),
            "Created": moment(record.created),
            "Path": path,
            "Args": rest,
            "State": state_json(&record),
            "Image": record.image.to_string(),
            "LogPath": if config.settings.no_log { String::new() } else { log.display().to_string() },
            "Name": format!("/{}", record.name),
            "RestartCount": 0,
            "Driver": "overlay",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": null,
            "Config": config_json(&config, &record),
            "HostConfig": host_json(&config),
            "GraphDriver": { "Name": "overlay", "Data": null },
            "Mounts": config.settings.mounts.iter().map(mount_json).collect::<Vec<_>>(),
            "NetworkSettings": network_json(&config),
        }))
    }
}

fn config_json(config: &Config, record: &ContainerRecord) -> Value {
    let settings = &config.settings;
    let names = |names: &mut dyn Iterator<Item = String>| -> Map<String, Value> {
        names.map(|name| (name, json!({}))).collect()
    };
    let exposed = names(&mut settings.exposed.iter().map(|port| with_protocol(port)));
    let volumes = names(&mut settings.volumes.iter().cloned());
    let mut described = json!({
        "Hostname": config.hostname_of(record),
        "Domainname": "",
        "User": config.user,
        "Tty": settings.terminal,
        "OpenStdin": config.interactive,
        "Env": config.env,
        "Cmd": config.command,
        "Image": record.image_name,
        "Volumes": if volumes.is_empty() { Value::Null } else { volumes.into() },
        "WorkingDir": config.workdir,
        "Entrypoint": if config.entrypoint.is_empty() { Value::Null } else { json!(config.entrypoint) },
        "OnBuild": null,
        "Labels": config.labels,
    });
    if !exposed.is_empty() {
        described["ExposedPorts"] = exposed.into();
    }
    if let Some(signal) = settings.stop_signal {
        described["StopSignal"] = signal_name(signal).into();
    }
    if let Some(seconds) = settings.stop_seconds {
        described["StopTimeout"] = seconds.into();
    }
    described
}

fn host_json(config: &Config) -> Value {
    let settings = &config.settings;
    let limits = &settings.shared_limits;
    let binds: Vec<String> = settings.mounts.iter().filter_map(bind).collect();
    let hosts: Vec<String> = settings.hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    let some = |list: Vec<String>| if list.is_empty() { Value::Null } else { json!(list) };
    let line = |word: &str| -> Vec<String> {
        let lines = settings.resolv_conf.iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        lines.flat_map(|rest| rest.split(' ')).map(str::to_owned).collect()
    };
    let limit = |(name, soft, hard): &(String, i64, i64)| json!({ "Name": name, "Soft": soft, "Hard": hard });
    json!({
        "Binds": some(binds),
        "ContainerIDFile": "",
        "LogConfig": { "Type": if settings.no_log { "none" } else { "json-file" }, "Config": {} },
        "NetworkMode": config.network,
        "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": settings.remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "Dns": line("nameserver"),
        "DnsOptions": line("options"),
        "DnsSearch": line("search"),
        "ExtraHosts": some(hosts),
        "GroupAdd": null,
        "IpcMode": "private",
        "Links": null,
        "OomScoreAdj": 0,
        "PidMode": "",
        "Privileged": settings.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": settings.read_only,
        "SecurityOpt": null,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": settings.shm(),
        "Runtime": "stave",
        "Annotations": settings.annotations,
        "Memory": limits.memory.unwrap_or_default(),
        "MemorySwap": limits.swap.unwrap_or_default(),
        "NanoCpus": 0,
        "CpuPeriod": limits.cpu_period.unwrap_or_default(),
        "CpuQuota": limits.cpu_quota.unwrap_or_default(),
        "CpuShares": limits.cpu_shares.unwrap_or_default(),
        "CpusetCpus": limits.cpus.clone().unwrap_or_default(),
        "CpusetMems": limits.nodes.clone().unwrap_or_default(),
        "PidsLimit": limits.processes,
        "Devices": settings.mounts.iter().filter_map(device).collect::<Vec<_>>(),
        "Ulimits": settings.limits.iter().map(limit).collect::<Vec<_>>(),
    })
}

/// Returns a mount as `-v` has it.
fn bind(mount: &ContainerMount) -> Option<String> {
    let (source, writable) = match &mount.kind {
        ContainerMountKind::Bind { source, writable } => (source, writable),
        ContainerMountKind::Volume { name, writable, .. } => (name, writable),
        ContainerMountKind::Device { .. } | ContainerMountKind::Tmpfs { .. } => return None,
    };
    Some(format!("{source}:{}{}", mount.target, if *writable { "" } else { ":ro" }))
}

fn device(mount: &ContainerMount) -> Option<Value> {
    let ContainerMountKind::Device { path } = &mount.kind else { return None };
    Some(json!({ "PathOnHost": path, "PathInContainer": mount.target, "CgroupPermissions": "rwm" }))
}

/// A container has the host's network or none, so it has no addresses of its own.
fn network_json(config: &Config) -> Value {
    let name = config.network.text();
    let none = json!({
        "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
        "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "",
    });
    let mut described = none.clone();
    described["Ports"] = json!({});
    described["Networks"] = json!({ name: none });
    described
}

fn mount_json(mount: &ContainerMount) -> Value {
    match &mount.kind {
        ContainerMountKind::Bind { source, writable } => {
            json!({ "Type": "bind", "Source": source, "Destination": mount.target, "RW": writable })
        }
        ContainerMountKind::Volume { name, writable, .. } => {
            json!({ "Type": "volume", "Name": name, "Driver": "local", "Destination": mount.target, "RW": writable })
        }
        ContainerMountKind::Device { path } => {
            json!({ "Type": "device", "Source": path, "Destination": mount.target, "RW": true })
        }
        ContainerMountKind::Tmpfs { .. } => json!({ "Type": "tmpfs", "Destination": mount.target, "RW": true }),
    }
}

/// Returns a time since 1970 as RFC 3339 has it, with as many digits of the second as it needs.
fn moment(time: Duration) -> String {
    jiff::SignedDuration::try_from(time)
        .and_then(jiff::Timestamp::from_duration)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

pub(super) fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

fn state_json(record: &ContainerRecord) -> Value {
    let alive = is_alive(record.state);
    let state = if alive { record.state } else { ended(record.state) };
    let (status, code, pid) = match state {
        ContainerState::Created => ("created", 0, 0),
        ContainerState::Running { pid, .. } if attach::is_paused(state) => ("paused", 0, pid),
        ContainerState::Running { pid, .. } => ("running", 0, pid),
        ContainerState::Exited { code } => ("exited", code, 0),
    };
    json!({
        "Status": status,
        "Running": alive,
        "Paused": status == "paused",
        "Restarting": false,
        "OOMKilled": false,
        "Dead": false,
        "Pid": pid,
        "ExitCode": code,
        "Error": "",
        "StartedAt": record.started.map_or_else(|| NEVER.to_owned(), moment),
        "FinishedAt": record.finished.map_or_else(|| NEVER.to_owned(), moment),
    })
}
