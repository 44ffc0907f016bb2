"""Questions answered by a class, as the pipeline sees them."""

from ensemw2s.forms.base import TaskForm
from ensemw2s.forms.classification.prepare import ClassModels, ClassPrepared
from ensemw2s.forms.classification.scoring import ClassScoring
from ensemw2s.forms.classification.strong.students import ClassStudents
from ensemw2s.forms.classification.weak.experts import ClassExperts

__all__ = ["ClassModels", "class_form"]


def class_form(prepared: ClassPrepared) -> TaskForm:
    """The form of a prepared run."""
    return TaskForm(ClassExperts(prepared), ClassStudents(prepared), ClassScoring(prepared))
