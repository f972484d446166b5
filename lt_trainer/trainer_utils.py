"""Names that scripts import from `transformers.trainer_utils`."""

from lt_trainer.checkpoint.find import get_last_checkpoint as get_last_checkpoint
from lt_trainer.seeds import enable_full_determinism as enable_full_determinism
from lt_trainer.seeds import set_seed as set_seed
from lt_trainer.state import EvalLoopOutput as EvalLoopOutput
from lt_trainer.state import EvalPrediction as EvalPrediction
from lt_trainer.state import HubStrategy as HubStrategy
from lt_trainer.state import IntervalStrategy as IntervalStrategy
from lt_trainer.state import PredictionOutput as PredictionOutput
from lt_trainer.state import SaveStrategy as SaveStrategy
from lt_trainer.state import SchedulerType as SchedulerType
from lt_trainer.state import TrainOutput as TrainOutput
