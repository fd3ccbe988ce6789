"""Contrastive losses: pure functions of embeddings, one file a family, over one kernel.

All have the form `loss(z1, z2, *, temperature, labels, <state>, reduction, normalize, chunk_size)`:
row i of both views shows sample i, and state (a queue, a teacher's embeddings, class priors) is
given, never kept. Queues and teachers get no gradient. They compute in float32 under autocast.

    nt_xent                SimCLR
    info_nce               InfoNCE, CLIP, LiT, with extra negatives of one anchor
    supcon                 SupCon over views, with prototypes as further keys; decoupled SupCon
    dcl                    DCL, DCLW
    macl                   model-aware temperature and weights
    moco                   a queue of negatives, hard-negative filter, labels of the queue
    ascl                   neighbours in the queue as soft positives
    cwcl                   positives weighted by a frozen network
    class_mean             class log-mean-exp with a logit adjustment, for long tails
    mcl                    negatives of the anchor's group; batches of one group
    nspt                   COCONUT: a teacher's positives and the student's own negatives; CLIP's
                           loss with some of the samples as anchors
    sycon                  CaSSLe's distillation from a network of the past; Sy-CON's symmetric
                           losses for plasticity and stability, of SimCLR and of MoCo
    nonnegative            a transform of embeddings before any of the losses
    decoupled_uniformity   repulsion of the samples' mean views, with a kernel of prior knowledge
    diagnostics            alignment, uniformity, effective rank, cosines
    key_queue, grad_cache  state of queues and teachers; large batches in little memory
    kernel, inputs         what the losses are made of

Mixtures are sums: supervised plus unsupervised is `a * supcon_loss(...) + (1 - a) *
nt_xent_loss(...)`, three towers the mean of three `clip_loss`.

Not built, as no strategy needs them:
    CACR    attraction and repulsion with weighted costs; not a log-sum-exp
    AMCL    several heads with a temperature for each pair (the kernel takes one); the published
            program does not run, so its formula is uncertain
    Hydra   a gate for each pair of classes
    SBCL    subclasses of head classes; SupCon twice, with one temperature for each anchor
    FASSL   prototypes that follow class frequencies; its formulas could not be confirmed
    Symile  products of three and more modalities
    RCAL    a calibration of class statistics; its loss is a squared distance
    VICReg, Barlow Twins, debiasing by a helper model, whitening of channel groups
"""
