"""Names that are read exist: linters cannot look, because jaxtyping's shapes are strings of undefined names."""

import builtins
import symtable
from collections.abc import Iterator
from pathlib import Path

import ensemw2s

ROOT = Path(ensemw2s.__file__).parent
OF_MODULES = {"__file__", "__name__", "__doc__", "__path__"}


def read_of_module(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for child in table.get_children():
        yield from read_of_module(child)


def undefined(source: str, name: str) -> set[str]:
    table = symtable.symtable(source, name, "exec")
    defined = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()} | OF_MODULES
    return {n for n in read_of_module(table) if n not in defined and not hasattr(builtins, n)}


def test_every_name_that_a_module_reads_is_its_own_or_built_in():
    found = {p: undefined(p.read_text(encoding="utf-8"), str(p)) for p in ROOT.rglob("*.py")}
    assert len(found) > 400
    assert not {str(p): names for p, names in found.items() if names}


def test_the_check_sees_what_is_missing():
    assert undefined("import os\ndef f(a):\n    return [os, g(a), len(a)]\n", "x") == {"g"}
