"""What a task's answers are, one protocol with two implementations: classes, and generated text.

Every stage of the pipeline is written once against the protocols of `experts`, `students`, `scoring` and `lessons`.
What a form hands out (voters, labels, training sets) it alone looks into.
"""

from dataclasses import dataclass

from ensemw2s.forms.experts import ExpertForm
from ensemw2s.forms.lessons import LessonForm
from ensemw2s.forms.scoring import ScoringForm
from ensemw2s.forms.students import StudentForm


@dataclass(frozen=True)
class TaskForm:
    """Classes or generated text."""

    experts: ExpertForm
    students: StudentForm
    scoring: ScoringForm
    lessons: LessonForm | None = None
    """Second lessons, where answers are texts."""
