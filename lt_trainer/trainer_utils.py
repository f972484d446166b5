"""Names that scripts import from `transformers.trainer_utils`."""

from lt_trainer.checkpoint.find import get_last_checkpoint as get_last_checkpoint
from lt_trainer.names import HubStrategy as HubStrategy
from lt_trainer.names import IntervalStrategy as IntervalStrategy
from lt_trainer.names import SaveStrategy as SaveStrategy
from lt_trainer.names import SchedulerType as SchedulerType
from lt_trainer.outputs import BestRun as BestRun
from lt_trainer.outputs import EvalLoopOutput as EvalLoopOutput
from lt_trainer.outputs import EvalPrediction as EvalPrediction
from lt_trainer.outputs import HPSearchBackend as HPSearchBackend
from lt_trainer.outputs import PredictionOutput as PredictionOutput
from lt_trainer.outputs import TrainOutput as TrainOutput
from lt_trainer.search import default_compute_objective as default_compute_objective
from lt_trainer.search import default_hp_space_optuna as default_hp_space_optuna
from lt_trainer.seeds import enable_full_determinism as enable_full_determinism
from lt_trainer.seeds import set_seed as set_seed
