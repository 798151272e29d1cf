"""The command line: each command is one function that calls one function of the core. Nothing heavy is imported
here."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING

from benchmark import __version__
from benchmark.errors import BenchmarkError, ContractError, error_text
from benchmark.text import visible

if TYPE_CHECKING:
    from pathlib import Path

    from benchmark.plan import Plan
    from benchmark.plugins import Registry
    from benchmark.suite.schema import Suite

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

COMMANDS = "benchmark_commands"
EXIT_CODES = "Exit codes: 0 all cells finished; 1 some failed; 2 a mistake in what was asked; 130 stopped by Ctrl-C."


def main(arguments: list[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        options = _parse(sys.argv[1:] if arguments is None else arguments)
        return int(options.command(options))
    except BenchmarkError as error:
        for line in str(error).splitlines():
            print(f"error: {visible(line)}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        print(f"error: {visible(str(error))}. Free some space, or give another folder with --results; the same command "
              "goes on from what is finished.", file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what is finished is kept, and the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def help_text() -> str:
    """What `benchmark --help` prints."""
    return _parser()[0].format_help() + _plugin_commands()


def _plugin_commands() -> str:
    """The commands of plugins, a line each, as their source says it: no plugin is loaded for it."""
    import importlib.metadata

    from benchmark import sources

    disabled = {word.strip() for word in os.environ.get("BENCHMARK_DISABLED_PLUGINS", "").split(",")}
    points = {point for point in importlib.metadata.entry_points(group="benchmark") if point.name not in disabled}
    offers = {name: target for point in points for name, target in sources.offered(point.module, COMMANDS).items()}
    lines = [f"    {name:<9} {visible(sources.first_line(target))}".rstrip() for name, target in sorted(offers.items())]
    return "\n".join(["\ncommands of plugins:", *lines, ""]) if lines else ""


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(help_text(), end="")
        parser.exit()


def _parse(words: list[str]) -> argparse.Namespace:
    """The options of one command. Plugins are loaded only for a command that the core does not have."""
    parser, commands = _parser()
    if words and not words[0].startswith("-") and words[0] not in commands.choices:
        _add_plugin_command(words[0], commands)
    return parser.parse_args(words)


def _add_plugin_command(name: str, commands: Commands) -> None:
    """Raises BenchmarkError with the closest name where no plugin has this command."""
    from benchmark import plugins
    from benchmark.isolation import contained

    offer = plugins.load(strict=False).offer("command", name)
    fill, parser = plugins.resolve(offer), commands.add_parser(name)
    try:
        with contained():
            parser.set_defaults(command=fill(parser))
    except Exception as error:
        raise ContractError(f"{offer} of {offer.plugin} failed, which is a fault in it: {error_text(error)}") from error


def _parser() -> tuple[argparse.ArgumentParser, Commands]:
    """The parser of the core's commands, and what further ones are added to."""
    parser = argparse.ArgumentParser(
        prog="benchmark",
        description="Compare generative and classic models for search and recommendation under one protocol.",
        epilog=EXIT_CODES,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action=_Help, nargs=0, help="show this help message and exit")
    parser.add_argument("--version", action="version", version=f"benchmark {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    suite = argparse.ArgumentParser(add_help=False)
    suite.add_argument("suite", metavar="SUITE", help="a suite file, or the name of a shipped suite")
    suite.add_argument("--profile", metavar="P", help="the profile of the suite, other than its default one")
    suite.add_argument("--set", metavar="path=value", action="append", default=[], dest="settings",
                       help="change one value, e.g. models.Gen_R.params.epochs=3 (repeatable)")  # fmt: skip
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--results", metavar="DIR", default="results", help="where results go (default: results)")
    store.add_argument("--option", metavar="plugin.name=value", action="append", default=[], dest="plugin_options",
                       help="an option of a plugin, e.g. mlflow.uri=off (repeatable)")  # fmt: skip
    store.add_argument("--tracking", metavar="URI", default="",
                       help="MLflow store: a URI, or off (default: sqlite in the results folder); short for --option "
                       "mlflow.uri=URI")  # fmt: skip
    work = argparse.ArgumentParser(add_help=False)
    work.add_argument("--only", metavar="PATTERN", action="append", default=[],
                      help="only cells, models or data sets that match (repeatable)")  # fmt: skip
    work.add_argument("--seeds", metavar="N", type=int, help="run seeds 0 to N-1")
    work.add_argument("--device", metavar="D", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    work.add_argument("--limit", metavar="N", type=int, help="at most N test requests per task; marks results partial")

    work.add_argument("--reproducible", action="store_true",
                      help="the same numbers on every x86-64 CPU; training takes about 1.5 times as long")  # fmt: skip

    run = commands.add_parser("run", parents=[suite, work, store], help="run a suite to its leaderboard")
    run.add_argument("--jobs", metavar="N", type=int, help="cells at a time (default: cores / threads per cell)")
    run.add_argument("--executor", metavar="NAME", default="local",
                     help="what runs the cells: local (a process each), inline (all in this one), …")  # fmt: skip
    run.add_argument("--timeout", metavar="SECONDS",
                     help="end a cell that takes longer; suite key timeout, a model's own counts first")  # fmt: skip
    run.add_argument("--memory", metavar="SIZE",
                     help="end a cell that uses more, such as 8GB; likewise suite key memory")  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="list the cells and an estimate, run nothing")
    run.add_argument("--fresh", action="store_true", help="compute finished cells again")
    run.set_defaults(command=_run)
    check = commands.add_parser("check", parents=[suite, work, store], help="validate a suite; say what it can resolve")
    check.set_defaults(command=_check)
    report = commands.add_parser("report", parents=[suite, store], help="everything after training again, from disk")
    report.set_defaults(command=_report)
    for command in (run, check, report):
        command.add_argument("--verify", action="store_true",
                             help="verify the sha256 of large files too, not only their size and time")  # fmt: skip
    shown = commands.add_parser("list", help="what plugins offer, and plugins; with a name, describe it")
    shown.add_argument(
        "name", nargs="?", metavar="NAME", help="a data set, a model, a metric or anything else that a plugin offers"
    )
    shown.add_argument("--suite-keys", action="store_true", help="every key of a suite file")
    shown.set_defaults(command=_list)
    suites = commands.add_parser("suites", help="shipped suites; with a name, print that one")
    suites.add_argument("name", nargs="?", metavar="NAME")
    suites.set_defaults(command=_suites)
    data = commands.add_parser("data", parents=[suite], help="what the data sets of a suite need, and where it lies")
    data.set_defaults(command=_data)
    new = commands.add_parser("new-plugin", help="write a third-party package, ready to install")
    new.add_argument("name", metavar="NAME", help="one word, such as acme")
    new.add_argument("--folder", metavar="DIR", default=".", help="where the package's folder goes (default: here)")
    new.set_defaults(command=_new_plugin)
    return parser, commands


def _plan(options: argparse.Namespace) -> tuple[Plan, Registry]:
    from dataclasses import replace
    from pathlib import Path

    from benchmark import plugins
    from benchmark.plan import make_plan

    registry = plugins.load()
    if executor := getattr(options, "executor", ""):  # before the data is read, which takes long
        plugins.check_requirements(registry.offer("executor", executor))
    suite, source = _suite(options)
    plan = make_plan(suite, source, registry, Path(options.results), only=options.only, device=options.device,
                     limit=options.limit, options=_plugin_options(options, registry))  # fmt: skip
    return replace(plan, verify=options.verify), registry


def _plugin_options(options: argparse.Namespace, registry: Registry) -> list[str]:
    """`--tracking off` asks for nothing that a missing MLflow plugin could not do."""
    there = options.tracking and (options.tracking != "off" or "mlflow" in registry.options)
    return [*([f"mlflow.uri={options.tracking}"] if there else []), *options.plugin_options]


def _suite(options: argparse.Namespace) -> tuple[Suite, Path]:
    from benchmark.suite.load import load_suite

    settings = [*options.settings, *(["reproducible=true"] if getattr(options, "reproducible", False) else [])]
    settings += [f"{key}={value}" for key in ("timeout", "memory") if (value := getattr(options, key, None))]
    return load_suite(options.suite, options.profile, settings, getattr(options, "seeds", None))


def _run(options: argparse.Namespace) -> int:
    from benchmark.console import Console, print_cells
    from benchmark.execution.dispatch import default_jobs
    from benchmark.report.console import print_report
    from benchmark.runner import run_suite

    if options.jobs is not None and options.jobs < 1:
        raise BenchmarkError(f"--jobs {options.jobs}: at least one cell must run at a time.")
    plan, registry = _plan(options)
    if options.dry_run:
        print_cells(plan, options.jobs or default_jobs(plan))
        return 0
    with Console() as console:
        outcome = run_suite(plan, registry, console, executor=options.executor, jobs=options.jobs, fresh=options.fresh)
    print_report(outcome.leaderboard, outcome.analyses)
    print(f"\n{outcome.computed} cells computed, {outcome.reused} reused, {len(outcome.failed)} failed. "
          f"Report: {plan.results / 'leaderboard.html'}")  # fmt: skip
    return 1 if outcome.failed else 0


def _check(options: argparse.Namespace) -> int:
    from benchmark.checks import print_check

    print_check(*_plan(options))
    return 0


def _report(options: argparse.Namespace) -> int:
    from pathlib import Path

    from benchmark import plugins
    from benchmark.console import Console
    from benchmark.report.console import print_report
    from benchmark.reporting import report
    from benchmark.stored import stored_plan, unlike_the_run
    from benchmark.suite.load import results_name

    registry = plugins.load()
    suite, source = _suite(options)
    home = Path(options.results) / results_name(suite, source)
    plan = stored_plan(suite, source, registry, home, _plugin_options(options, registry), verify=options.verify)
    changed = unlike_the_run(suite, home)
    with Console() as console:
        if changed:
            console.warned("the report shows the run as it was; these settings take effect with a new `benchmark run`: "
                           f"{'; '.join(changed)}")  # fmt: skip
        leaderboard, analyses = report(plan, registry, console.warned)
    print_report(leaderboard, analyses)
    return 1 if leaderboard.failures else 0


def _list(options: argparse.Namespace) -> int:
    from benchmark import plugins
    from benchmark.console import print_entries, print_offer, print_registry

    if options.suite_keys:
        from benchmark.describe import suite_keys

        print_entries(suite_keys())
        return 0
    registry = plugins.load(strict=False)
    if options.name:
        from benchmark.describe import offers_called

        for offer in offers_called(options.name, registry):
            print_offer(offer)
        return 0
    print_registry(registry)
    return 0


def _suites(options: argparse.Namespace) -> int:
    from benchmark.suite.file import read_suite, shipped_suites

    if options.name:
        print(read_suite(options.name).path.read_text(encoding="utf-8"), end="")
        return 0
    for name in shipped_suites():
        print(f"{name:14} {read_suite(name).raw.get('title', '')}")
    return 0


def _data(options: argparse.Namespace) -> int:
    from benchmark import plugins
    from benchmark.checks import print_data

    suite, _ = _suite(options)
    return print_data(suite, plugins.load())


def _new_plugin(options: argparse.Namespace) -> int:
    from pathlib import Path

    from benchmark.new_plugin import create

    folder = create(options.name, Path(options.folder))
    print(f"wrote {folder}. Install it with: pip install -e {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
