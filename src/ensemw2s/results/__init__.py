"""Typed records of figures: everything that shows figures reads these, and nothing here computes one."""

from ensemw2s.results.base import Cost, Figure, Interval, Record
from ensemw2s.results.comparison import RunComparison, RunLine, RunPair
from ensemw2s.results.conditions import Condition, RowKind
from ensemw2s.results.plan import Plan, PlanLine
from ensemw2s.results.run import (
    SCHEMA_VERSION,
    AnswerSample,
    BudgetCurve,
    BudgetPoint,
    Comparison,
    Confusion,
    DifficultyBin,
    DifficultyCurve,
    EnsembleTrace,
    Pgr,
    Recommendation,
    Reliability,
    ReliabilityBin,
    Results,
    Round,
    Row,
    TaskInfo,
    TokenShare,
    TokenWeights,
)
from ensemw2s.results.timing import StageTime, Timing

__all__ = [
    "SCHEMA_VERSION",
    "AnswerSample",
    "BudgetCurve",
    "BudgetPoint",
    "Comparison",
    "Condition",
    "Confusion",
    "Cost",
    "DifficultyBin",
    "DifficultyCurve",
    "EnsembleTrace",
    "Figure",
    "Interval",
    "Pgr",
    "Plan",
    "PlanLine",
    "Recommendation",
    "Record",
    "Reliability",
    "ReliabilityBin",
    "Results",
    "Round",
    "Row",
    "RowKind",
    "RunComparison",
    "RunLine",
    "RunPair",
    "StageTime",
    "TaskInfo",
    "Timing",
    "TokenShare",
    "TokenWeights",
]
