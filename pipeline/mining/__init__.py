"""Hard negatives: which passages look like answers, and which of them may be shown as wrong.

Shared by `prep`, which mines with the base model, and `finetune`, which may mine again with the
weights as they are. Knows no stage.
"""
