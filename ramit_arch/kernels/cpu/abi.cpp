// Describes the library to Python, which calls it only if this is what it expects.

#include "abi.h"

#include <string>

namespace {

template <typename Structure> std::string describe(const char* name, const char* definition) {
    return std::string("\n") + name + " " + std::to_string(sizeof(Structure)) + ": " + definition;
}
#define DESCRIBE(Name) describe<Name>(#Name, Name##_definition)

}  // namespace

extern "C" {

extern const Limits ramit_limits;
const Limits ramit_limits = {PADDING, WINDOW_SIZE, MAX_CHANNELS, MAX_HEAD_DIM, MAX_CHANNEL_QK};

// "version N", then a line for each structure: its name, size in bytes and definition.
const char* ramit_abi() {
    static const std::string text = "version " + std::to_string(ABI_VERSION) + DESCRIBE(Limits) +
                                    DESCRIBE(BlockAttention) + DESCRIBE(ChannelMixing) + DESCRIBE(PostAttention) +
                                    DESCRIBE(PostAttentionGradients) + DESCRIBE(WindowAttention) +
                                    DESCRIBE(WindowAttentionGradients);
    return text.c_str();
}
}
