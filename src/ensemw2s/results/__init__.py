"""Typed records of figures: everything that shows figures reads these, and nothing here computes one."""

from ensemw2s.results.base import Cost, Figure, Interval, Record
from ensemw2s.results.comparison import RunComparison, RunLine, RunPair
from ensemw2s.results.conditions import Condition, RowKind
from ensemw2s.results.curves import (
    BestOfN,
    BestOfNPoint,
    BudgetCurve,
    BudgetPoint,
    Confusion,
    DifficultyBin,
    DifficultyCurve,
    Reliability,
    ReliabilityBin,
)
from ensemw2s.results.items import AnswerSample, Item, Items, LabelledText
from ensemw2s.results.plan import Plan, PlanLine
from ensemw2s.results.rounds import EnsembleTrace, PoolMember, Round, TokenShare, TokenWeights
from ensemw2s.results.rows import Comparison, Mending, Pgr, Row
from ensemw2s.results.run import SCHEMA_VERSION, Recommendation, Results, TaskInfo
from ensemw2s.results.timing import StageTime, Timing
from ensemw2s.results.voters import Voter, Voters

__all__ = [
    "SCHEMA_VERSION",
    "AnswerSample",
    "BestOfN",
    "BestOfNPoint",
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
    "Item",
    "Items",
    "LabelledText",
    "Mending",
    "Pgr",
    "Plan",
    "PlanLine",
    "PoolMember",
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
    "Voter",
    "Voters",
]
