// Launcher of the suppression. A plain C++ compiler makes the host build of this file.
#include "keep_boxes.h"
#include "lzu_kernels.h"
#include "suppress.h"

namespace
{

constexpr size_t kBYTES_PER_CANDIDATE = sizeof(lzu::BoxEdges) + 2 * sizeof(float) + 2 * sizeof(int);

size_t runsOf(int32_t candidates)
{
    return (static_cast<size_t>(candidates) + lzu::kRUN - 1) / lzu::kRUN;
}

lzu::SuppressSpace spaceOf(LzuSuppress const& call)
{
    int64_t const total = static_cast<int64_t>(call.batch) * call.candidates;
    lzu::SuppressSpace space{};
    space.boxes = static_cast<lzu::BoxEdges*>(call.workspace);
    space.scores = reinterpret_cast<float*>(space.boxes + total);
    space.runScores = space.scores + total;
    space.labels = reinterpret_cast<int*>(space.runScores + total);
    space.runIndices = space.labels + total;
    space.soundCounts = space.runIndices + total;
    return space;
}

template <class Kernel>
int launchOver(LzuSuppress const& call, bool everyRun, void* stream)
{
    int const runs = static_cast<int>(runsOf(call.candidates));
    Kernel kernel{};
    kernel.call = call;
    kernel.space = spaceOf(call);
    kernel.runs = runs;
    return lzu::launch(kernel, everyRun ? runs * call.batch : call.batch, stream);
}

} // namespace

extern "C" size_t lzu_suppress_workspace(int32_t batch, int32_t candidates)
{
    return batch < 1 || candidates < 1
               ? 0
               : static_cast<size_t>(batch)
                     * (static_cast<size_t>(candidates) * kBYTES_PER_CANDIDATE + runsOf(candidates) * sizeof(int));
}

extern "C" int32_t lzu_suppress(LzuSuppress const* call, void* stream)
{
    if (call == nullptr || call->batch < 1 || call->candidates < 1 || call->candidates > LZU_MOST_CANDIDATES
        || call->max_detections < 1 || (call->label_bytes != 4 && call->label_bytes != 8) || call->workspace == nullptr)
    {
        return LZU_INVALID;
    }
    int failed = launchOver<lzu::SortRuns>(*call, true, stream);
    failed = failed != 0 ? failed : launchOver<lzu::MergeRuns>(*call, true, stream);
    return failed != 0 ? failed : launchOver<lzu::KeepBoxes>(*call, false, stream);
}
