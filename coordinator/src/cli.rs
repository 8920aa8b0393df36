//! What was typed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use blaster::cli::{CpuList, RunArgs, SweepArgs, a_second, cpu_list};
use blaster_core::plan::rate::Rate;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::allowed::Allowed;
use crate::hosts::PORT_DEFAULT;

/// Makes many blasters act as one: one start, one split of the rate, one exact set of numbers.
#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    after_help = "Examples:\n  \
        coordinator run --local 2 --rps 200k                          two agents and a target on this machine\n  \
        coordinator secret cluster.secret                             once; copy it to every node\n  \
        coordinator agent --listen 10.0.0.7:7400                      on every node\n  \
        coordinator status --nodes hosts.txt                          are they there?\n  \
        coordinator run --nodes hosts.txt --rps 5m --target api:3000  all together\n  \
        coordinator sweep --nodes hosts.txt --target api:3000         how much does it take?\n\n\
        Exit status of run and sweep: 0 done, 1 failed or nothing answered, 2 bad usage, 3 client-limited, 99 an SLO failed, 130 interrupted"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Drive a target from many nodes at once
    Run(Box<LeadArgs>),
    /// Find out how much a target takes, from many nodes: its limit, where it bends, whether it comes back
    Sweep(Box<FindArgs>),
    /// Wait on this node for a leader's runs
    Agent(AgentArgs),
    /// Show every node: version, cores, clock, limits; starts nothing
    Status(StatusArgs),
    /// Is every node ready for its part of a plan, and what gives out first there
    Doctor(Box<ExamineArgs>),
    /// Stop whatever run the nodes have
    Stop(StopArgs),
    /// Make the file that leader and agents share
    Secret {
        /// Where; it must not exist yet
        #[arg(value_name = "FILE", default_value = crate::secret::FILE_DEFAULT)]
        file: PathBuf,
    },
}

/// `coordinator run`.
#[derive(Clone, Debug, Args)]
#[command(
    mut_arg("arrivals", |arg| arg.help("Spacing of requests [default: poisson with several nodes]")),
    mut_arg("connections", |arg| arg.help("Total connections of all nodes [default: 64 a node, never fewer than threads]")),
    mut_arg("targets", |arg| arg.help("The server that all nodes drive; repeatable, as URL=WEIGHT. --local starts one itself if there is none")),
)]
pub struct LeadArgs {
    /// Who does it.
    #[command(flatten)]
    pub team: TeamArgs,
    /// When a node is lost during the run: end it, go on with the gap marked, or let the others take its share
    #[arg(long, value_name = "HOW", default_value = "degrade", help_heading = "Nodes")]
    pub on_node_loss: OnNodeLossArg,
    /// The run: totals over all nodes, but for --threads and --cores.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `coordinator sweep`.
#[derive(Clone, Debug, Args)]
pub struct FindArgs {
    /// Who does it; later it goes on with those that are left.
    #[command(flatten)]
    pub team: TeamArgs,
    /// The sweep: totals over all nodes, but for --threads and --cores.
    #[command(flatten)]
    pub sweep: SweepArgs,
}

/// The nodes of a run, and how they share it.
#[derive(Clone, Debug, Args)]
pub struct TeamArgs {
    /// Named ones.
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// Instead of nodes, start so many agents here, and a target if none is given
    #[arg(long, value_name = "N", conflicts_with_all = ["nodes", "secret"], value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Nodes")]
    pub local: Option<u32>,
    /// Go on without nodes that cannot be had, as long as so many can [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Nodes")]
    pub min_nodes: Option<u32>,
    /// How the rate is shared: equally, by the hosts file, or by what each node measures in two seconds [default: hosts]
    #[arg(long, value_name = "HOW", help_heading = "Nodes")]
    pub weights: Option<WeightsArg>,
}

/// Which nodes, and what lets us in.
#[derive(Clone, Debug, Args)]
pub struct NodesArgs {
    /// A node a line: `HOST[:PORT] [weight=N] [max-rps=N]`
    #[arg(long, value_name = "FILE", help_heading = "Nodes")]
    pub nodes: Option<PathBuf>,
    /// The file that `coordinator secret` made [default: $COORDINATOR_SECRET, else cluster.secret]
    #[arg(long, value_name = "FILE", help_heading = "Nodes")]
    pub secret: Option<PathBuf>,
}

/// `coordinator agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// Where to listen (UDP); only this machine reaches the default
    #[arg(long, value_name = "ADDR[:PORT]", default_value = "127.0.0.1:7400", value_parser = listen)]
    pub listen: SocketAddr,
    /// The file that `coordinator secret` made [default: $COORDINATOR_SECRET, else cluster.secret]
    #[arg(long, value_name = "FILE")]
    pub secret: Option<PathBuf>,
    /// Send load to these alone: `HOST[:PORT]`, an address, or a network as in 10.0.0.0/8; repeatable [default: to all]
    #[arg(long = "allow-target", value_name = "TARGET")]
    pub allow_targets: Vec<Allowed>,
    /// Never take more requests per second of a run than this, whoever asks; what a target or this machine held up still catches up faster
    #[arg(long, value_name = "N")]
    pub max_rps: Option<Rate>,
    /// CPUs that runs use here, whatever they say, as in 1,4-7 [default: what the run says, else those allowed]
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    pub cores: Option<CpuList>,
    /// Read the secret from the first line of standard input unless --secret is given, say on standard output where it listens, and end
    /// when standard input does: for whoever starts it as a child
    #[arg(long, hide = true)]
    pub child: bool,
}

/// An address, with a port or that of a hosts file without one.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let with_port =
        text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, PORT_DEFAULT)));
    with_port.map_err(|_| format!("no address {text:?}: write 10.0.0.7, 10.0.0.7:7400 or [::]:7400"))
}

/// `coordinator status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The nodes.
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// Write the answer as JSON here; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `coordinator doctor`.
#[derive(Clone, Debug, Args)]
pub struct ExamineArgs {
    /// The nodes.
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// The plan: totals over all nodes, but for --threads and --cores.
    #[command(flatten)]
    pub run: RunArgs,
    /// New connections a second to one address, all along, of all nodes together, if the target closes them
    #[arg(long, value_name = "N", default_value = "0", value_parser = a_second, help_heading = "Load")]
    pub new_connections: u64,
}

/// `coordinator stop`.
#[derive(Clone, Debug, Args)]
pub struct StopArgs {
    /// The nodes.
    #[command(flatten)]
    pub nodes: NodesArgs,
    /// Write the answer as JSON here; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `--on-node-loss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnNodeLossArg {
    /// The run ends
    Fail,
    /// The run goes on without its share, which is marked
    Degrade,
    /// Likewise, until it must have stopped; then the others send its share as well, within their max-rps
    Rebalance,
}

/// `--weights`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightsArg {
    /// The same for all
    Equal,
    /// As the hosts file says
    Hosts,
    /// By what each node can send of this run to a target within itself
    Calibrated,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn all_flags_of_a_run_are_flags_here_too() {
        let typed = [
            "coordinator",
            "run",
            "--nodes",
            "h",
            "--rps",
            "5m",
            "--batch",
            "1:2",
            "--slo",
            "p99<1s",
            "-T",
            "a:1",
        ];
        let Command::Run(args) = Cli::parse_from(typed).command else { panic!("not run") };
        assert_eq!((args.run.targets.len(), args.on_node_loss), (1, OnNodeLossArg::Degrade));
        assert!(Cli::try_parse_from(["coordinator", "run", "--nodes", "h", "--local", "2"]).is_err());
    }
}
