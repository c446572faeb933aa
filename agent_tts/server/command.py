"""`agent-tts serve`: its arguments and what they start. Knows no message."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from agent_tts.config import EngineConfig, from_mapping, load_yaml
from agent_tts.engine import Engine
from agent_tts.errors import AgentTTSError, ConfigError
from agent_tts.remote.address import Address, parse_address, unix_address
from agent_tts.server.process import serve

_OVERRIDES = ("model", "device", "dtype", "max_slots", "max_waiting", "lead_ms", "num_threads", "accept_license")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `agent-tts serve`."""
    parser.add_argument("--socket", action="append", default=[], metavar="PATH", help="listen on a unix socket")
    parser.add_argument("--tcp", action="append", default=[], metavar="HOST:PORT", help="listen on TCP, loopback only")
    parser.add_argument("--trust-network", action="store_true", help="let --tcp be another than a loopback address")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    parser.add_argument("--config", metavar="YAML", help="an EngineConfig as a file; the options below override it")
    parser.add_argument("--model", help='"bundled", a checkpoint folder or a hub id')
    parser.add_argument("--device", help="cpu, cuda, cuda:1")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--max-slots", type=int, help="utterances that are computed at once")
    parser.add_argument("--max-waiting", type=int, help="utterances that may be open in all")
    parser.add_argument("--lead-ms", type=float, help="how far ahead of playout generation may run")
    parser.add_argument("--num-threads", type=int, help="threads of one computation")
    parser.add_argument("--accept-license", help="the licence of the weights, by its name")


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; the exit status. Errors of ours are one line on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        addresses = read_addresses(arguments.socket, arguments.tcp)
        config = read_config(arguments)
        asyncio.run(
            serve(
                lambda: Engine.load(config=config),
                addresses,
                trust_network=arguments.trust_network,
                with_parent=arguments.with_parent,
            )
        )
    except AgentTTSError as error:
        sys.stderr.write(f"agent-tts serve: {error}\n")
        return 1
    return 0


def read_addresses(sockets: list[str], tcp: list[str]) -> list[Address]:
    """Where to listen. Raises ConfigError when that is nowhere."""
    addresses = [unix_address(path) for path in sockets] + [parse_address(f"tcp://{place}") for place in tcp]
    if not addresses:
        raise ConfigError("nowhere to listen; give --socket /run/agent-tts.sock, or --tcp 127.0.0.1:7788.")
    return addresses


def read_config(arguments: argparse.Namespace) -> EngineConfig:
    values = load_yaml(arguments.config) if arguments.config else {}
    values |= {name: value for name in _OVERRIDES if (value := getattr(arguments, name)) is not None}
    return from_mapping(EngineConfig, values, where=arguments.config or "arguments")
