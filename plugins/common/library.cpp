// The two functions by which TensorRT finds the plugins of a library that it loads.
#include "common/creators.h"
#include "common/log.h"
#include "common/plugin.h"
#include "kernels/lzu_kernels.h"

static_assert(lzu::kVERSION[0] - '0' == LZU_PLUGINS_VERSION && lzu::kVERSION[1] == '\0', "one version everywhere");

extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    static nvinfer1::IPluginCreatorInterface* const sCreators[] = {lzu::separableUnzoomCreator(),
        lzu::separableZoomCreator(), lzu::boxKnotsCreator(), lzu::invertWarpCreator()};
    count = static_cast<int32_t>(sizeof sCreators / sizeof sCreators[0]);
    return sCreators;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    lzu::setLogger(finder);
}
