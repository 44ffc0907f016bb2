"""Questions answered by generated text, as the pipeline sees them."""

from ensemw2s.forms.base import TaskForm
from ensemw2s.forms.generation.experts import AnswerExperts
from ensemw2s.forms.generation.lessons import PairLessons
from ensemw2s.forms.generation.prepare import AnswerModels, AnswerPrepared
from ensemw2s.forms.generation.scoring import AnswerScoring
from ensemw2s.forms.generation.students import AnswerStudents

__all__ = ["AnswerModels", "answer_form"]


def answer_form(prepared: AnswerPrepared) -> TaskForm:
    """The form of a prepared run."""
    scoring, lessons = AnswerScoring(prepared), PairLessons(prepared)
    return TaskForm(AnswerExperts(prepared), AnswerStudents(prepared), scoring, lessons)
