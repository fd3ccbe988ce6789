"""Contrastive losses as pure functions of embeddings: one file per family, all on one kernel.

All have the form `loss(z1, z2, *, temperature, labels, <state>, reduction, normalize, chunk_size)`:
row i of both views shows sample i. State (a queue, a teacher's embeddings, class priors) is passed
in, never kept. Queues and teachers get no gradient. Under autocast the losses compute in float32.

    nt_xent                SimCLR
    info_nce               InfoNCE, CLIP, LiT, with extra negatives per anchor
    supcon                 SupCon over views, with prototypes as further keys; decoupled SupCon
    dcl                    DCL, DCLW
    macl                   model-aware temperature and weights
    moco                   a queue of negatives, hard-negative filter, labels of the queue
    ascl                   neighbours in the queue as soft positives
    cwcl                   positives weighted by a frozen network
    class_mean             class log-mean-exp with a logit adjustment, for long tails
    gml                    the same with a learned temperature; logit-adjusted cross-entropy
    sbcl                   SupCon over subclasses of frequent classes, and between them
    fassl                  NT-Xent with weights for rare prototypes; formulas reconstructed
    mcl                    negatives from the anchor's group; batches from one group
    nspt                   COCONUT: a teacher's positives and the student's own negatives; CLIP's
                           loss with only some samples as anchors
    sycon                  CaSSLe's distillation from a past network; Sy-CON's symmetric losses for
                           plasticity and stability, in SimCLR and MoCo form
    nonnegative            a transform of the embeddings, usable before any loss
    decoupled_uniformity   repulsion of the samples' mean views, with a kernel of prior knowledge
    diagnostics            alignment, uniformity, effective rank, cosines
    key_queue, grad_cache  queues and teachers; large batches in little memory
    clusters, subclasses   k-means by cosine; subclasses of frequent classes, their temperatures
    kernel, inputs         the shared computation; input checks

Mixtures are sums: supervised plus unsupervised is `a * supcon_loss(...) + (1 - a) *
nt_xent_loss(...)`, three towers the mean of three `clip_loss`.

Not built, because no strategy needs them:
    CACR    attraction and repulsion with weighted costs; not a log-sum-exp
    AMCL    several heads with a temperature for each pair (the kernel takes one); the published
            program does not run, so its formula is uncertain
    Hydra   a gate for each pair of classes
    Symile  products of three and more modalities
    RCAL    a calibration of class statistics, with a squared distance as its loss
    VICReg, Barlow Twins, debiasing by a helper model, whitening of channel groups
"""
